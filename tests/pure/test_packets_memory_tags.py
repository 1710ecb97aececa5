"""``qMemTags`` and its like, as conversations; of a target without tags they are not known."""

from dataclasses import dataclass, field

from gdbstub.capabilities import MemoryTags, TaggedTarget
from gdbstub.protocol.packets import PACKETS
from tests.pure.able_target import FakeTags
from tests.pure.fake_target import FakeTarget
from tests.pure.transcript import Stage, conversation


@dataclass
class Tagged(FakeTarget, TaggedTarget):
    """A target that may have tags."""

    stored: MemoryTags | None = field(default_factory=FakeTags)

    @property
    def tags(self) -> MemoryTags | None:
        return self.stored


def offers(target: FakeTarget, asked: bytes = b"qSupported") -> bool:
    stage = Stage(target)
    return b"memory-tagging+" in stage.send(asked)


def test_the_feature_is_the_targets() -> None:
    assert offers(Tagged())
    assert not offers(Tagged(stored=None))
    assert not offers(FakeTarget())


def test_a_gdb_that_would_fail_over_them_is_not_told() -> None:
    assert not offers(Tagged(), b"qSupported:memory-tagging+;xmlRegisters=i386")
    assert offers(Tagged(), b"qSupported:error-message+;memory-tagging+")


def test_without_tags_the_packets_are_not_known() -> None:
    for target in (FakeTarget(), Tagged(stored=None)):
        conversation(
            """
            <- $qMemTags:40000000,10:1
            -> $
            <- $QMemTags:40000000,10:1:05
            -> $
            <- $qIsAddressTagged:40000000
            -> $
            """,
            target,
        )
    assert PACKETS[b"qMemTags"].needs is not None


def test_tags_are_written_and_read() -> None:
    conversation(
        """
        <- $qMemTags:40000000,20:1
        -> $m0000
        <- $QMemTags:40000000,20:1:0503
        -> $OK
        <- $qMemTags:40000000,20:1
        -> $m0503
        <- $qMemTags:4000000f,2:1
        -> $m0503
        <- $qMemTags:40000008,1:1
        -> $m05
        <- $qMemTags:40000008,0:1
        -> $m
        <- $qIsAddressTagged:40000fff
        -> $01
        <- $qIsAddressTagged:40001000
        -> $00
        """,
        Tagged(),
    )


def test_fewer_tags_are_repeated_and_more_are_ignored() -> None:
    conversation(
        """
        <- $QMemTags:40000000,50:1:0102
        -> $OK
        <- $qMemTags:40000000,60:1
        -> $m010201020100
        <- $QMemTags:40000000,10:1:0a0b0c
        -> $OK
        <- $qMemTags:40000000,20:1
        -> $m0a02
        <- $QMemTags:40000000,10:1:
        -> $OK
        <- $QMemTags:40000000,0:1:0f
        -> $OK
        <- $qMemTags:40000000,10:1
        -> $m0a
        """,
        Tagged(),
    )


def test_what_cannot_be() -> None:
    conversation(
        """
        <- $qMemTags:40000000,10:0
        -> $E16
        <- $qMemTags:40000ff0,20:1
        -> $E0e
        <- $QMemTags:40000ff0,20:1:0101
        -> $E0e
        <- $QMemTags:40000ff0,ffffffffff:1:01
        -> $E0e
        <- $QMemTags:40000ff0,10:1:10
        -> $E16
        <- $QMemTags:40000ff0,10:1:1
        -> $E16
        <- $qMemTags:fffffffffffffff0,20:1
        -> $E16
        <- $qMemTags:40000000,100000:1
        -> $E16
        <- $qMemTags:40000ff0,10:1
        -> $m00
        """,
        Tagged(),
    )
