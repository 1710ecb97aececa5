"""Several vCPUs, and stopping what runs."""

import re
import signal

from tests.gdb.conftest import Client, Serve

BOTH_RUN = ("tbreak spin", "continue")


def test_ctrl_c_stops_a_loop(gdb: Client) -> None:
    process = gdb.begin("continue", "bt", "print watched")
    gdb.stub.expect("resume")
    process.send_signal(signal.SIGINT)
    said = gdb.finish(process)
    assert "received signal SIGINT" in said


def test_after_ctrl_c_everything_works(gdb: Client) -> None:
    process = gdb.begin(
        "continue", "tbreak spin", "continue", "print watched", "stepi", "print counter >= 0"
    )
    gdb.stub.expect("resume")
    process.send_signal(signal.SIGINT)
    said = gdb.finish(process)
    assert "received signal SIGINT" in said
    assert said.count("= 1\n") == 1


def test_info_threads_shows_where_each_is(serve: Serve) -> None:
    said = serve(vcpus=2)(*BOTH_RUN, "info threads", "thread apply all bt 1")
    assert re.search(r'\* 1 +Thread 1 "CPU0" \(halted\) +spin \(\) at', said)
    assert re.search(r'  2 +Thread 2 "CPU1" \(halted\) .*secondary \(\) at', said)


def test_a_breakpoint_in_the_secondary_switches_to_it(serve: Serve) -> None:
    said = serve(vcpus=2)("break secondary", "continue", "info threads", "print $_thread")
    assert 'Thread 2 "CPU1" hit Breakpoint 1, secondary ()' in said
    assert "$1 = 2" in said


def test_a_hardware_breakpoint_set_while_it_is_off_hits_on_the_secondary(serve: Serve) -> None:
    said = serve(vcpus=2)("info threads", "hbreak secondary", "continue")
    assert "(powered off)" in said
    assert 'Thread 2 "CPU1" hit Breakpoint 1, secondary ()' in said


def test_a_watchpoint_hits_on_the_secondary(serve: Serve) -> None:
    said = serve(vcpus=2)("watch last_tick", "continue")
    assert 'Thread 2 "CPU1" hit Hardware watchpoint 1: last_tick' in said
    assert re.search(r"Old value = 0\s+New value = 1\b", said)


def test_stepping_one_lets_the_other_run(serve: Serve) -> None:
    said = serve(vcpus=2)(*BOTH_RUN, "print ticks", *["next"] * 4, "print ticks")
    before, after = map(int, re.findall(r"\$\d = (\d+)", said))
    assert after > before


def test_scheduler_locking_holds_the_other(serve: Serve) -> None:
    said = serve(vcpus=2)(
        *BOTH_RUN, "set scheduler-locking on", "print ticks", *["next"] * 4, "print ticks",
        "thread 2", "print counter", *["next"] * 4, "print counter",
    )  # fmt: skip
    ticks, ticks_after, count, count_after = map(int, re.findall(r"\$\d = (\d+)", said))
    assert ticks == ticks_after
    assert count == count_after


def test_registers_are_those_of_the_selected_thread(serve: Serve) -> None:
    depth = "print $sp - (long)stacks"
    said = serve(vcpus=2)(*BOTH_RUN, depth, "thread 2", depth, "thread 1", depth)
    first, second, again = (int(text, 0) for text in re.findall(r"\$\d = .*?(\w+)$", said, re.M))
    assert first < 4096 < second <= 8192
    assert again == first


def test_a_breakpoint_for_one_thread_lets_the_other_pass(serve: Serve) -> None:
    # The first one's line is hit by nobody else, the second one's by the wrong thread.
    said = serve(vcpus=2)(*BOTH_RUN, "break secondary thread 1", "tbreak 79 thread 1", "continue")
    assert 'Thread 1 "CPU0" hit Temporary breakpoint 3, spin () at' in said


def test_ctrl_c_with_two_vcpus_stops_both(serve: Serve) -> None:
    gdb = serve(vcpus=2)
    process = gdb.begin(*BOTH_RUN, "continue", "print ticks", "print ticks", "info threads")
    gdb.stub.expect("resume")
    gdb.stub.expect("resume")
    process.send_signal(signal.SIGINT)
    said = gdb.finish(process)
    assert "received signal SIGINT" in said
    first, second = re.findall(r"\$\d = (\d+)", said)
    assert first == second
