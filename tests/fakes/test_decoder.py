"""Classes of instructions against the GNU disassembler, for random words and those of each row."""

import random
import re
import subprocess
from pathlib import Path

from gdbstub.aarch64.decoder import ENCODINGS, decode

#: Mnemonics of a class in the disassembler, which leaves out instructions it does not know.
NAMES = {
    "Adr": "adrp?",
    "AddImmediate": "add|sub|mov",
    "MoveWide": "mov[nzk]?",
    "MoveRegister": "mov",
    "BranchOnFlags": r"b\.\w\w",
    "ConsistentBranch": r"bc\.\w\w",
    "AuthenticatedBranch": "(br|blr)(aaz|aa|abz|ab)|reta[ab](sppcr?)?",
    "BranchOnZero": "cbn?z",
    "BranchOnBit": "tbn?z",
    "Branch": "b",
    "BranchWithLink": "bl",
    "RegisterBranch": "br|blr|ret",
    "ExceptionReturn": "eret(aa|ab)?",
    "HypervisorCall": "hvc|smc",
    "Nop": "nop",
    "Idle": "yield",
    "Wait": "wf[ei]",
    "WaitUntil": "wf[ei]t",
    "BranchTarget": "bti",
    "ErrorSynchronization": "esb",
    "Hint": "hint|csdb|cle?a?rbhb|sevl?|psb|tsb|dgh|chkfeat|gcsb|stshh|shuh|stcph"
    "|(pac|aut|xpac)\\w+",
    "Barrier": "dsb|dmb|p?ssbb",
    "ClearExclusive": "clrex",
    "ContextSynchronization": "isb|sb",
    "SetDaif": "msr",
    "ClearDaif": "msr",
    "WriteDaif": "msr",
    "ReadDaif": "mrs",
    "ReadRegister": "mrs",
    "LoadExclusive": "lda?t?x[rp][bh]?",
    "StoreExclusive": "stl?t?x[rp][bh]?",
    "CompareAndSwapPair": "caspa?l?t?",
    "LoadOrdered": "(ld|st)l?[al]r[bh]?|stllr[bh]?|casa?l?[bht]?",
    "LoadStructures": "(ld|st)[1-4]",
    "LoadStructure": "(ld|st)[1-4]|ld[1-4]r|ldap1|stl1",
    "LoadLiteral": "ldr|ldrsw|prfm",
    "LoadAcquire": "ldapurs?[bhw]?|stlur[bh]?",
    "LoadPair": "(ld|st)t?n?p|ldpsw|stgp",
    "LoadUnsigned": "ldrs?[bhw]?|str[bh]?|prfm",
    "LoadSigned": "ld[ut]?rs?[bhw]?|st[ut]?r[bh]?|prfum",
    "LoadRegister": "ldrs?[bhw]?|str[bh]?|r?prfm",
    "Atomic": "(ld|st)(add|clr|eor|set|[su]max|[su]min)a?l?[bh]?|swpa?l?[bh]?|ldapr[bh]?"
    "|ld64b|st64b|st64bv0?|rcws?(clr|set|swp)a?l?",
}
#: Names that must not be another class's, nor ``Computation``.
OWN = re.compile(
    r"adrp|b\.\w\w|bc\.\w\w|cbn?z|tbn?z|bl?|br|blr|ret|eret\w*|reta\w|hvc|smc|nop|yield|wf[ei]t?|bti"
    r"|dsb|dmb|clrex|isb|sb|ld[al]?xr\w*|lda?xp|stl?x[rp]\w*|cas\w+|movk|ld[np]|ldpsw|stn?p"
)


def aborts_objdump(word: int) -> bool:
    """Return True for unallocated words beside LDAPUR (SIMD&FP): binutils 2.42 aborts there."""
    return word & 0x3FA0_0C00 == 0x1D80_0800 and bool(word >> 30)


def disassembled(words: list[int], at: Path) -> list[str]:
    """The mnemonics of *words*; empty for what is no instruction."""
    at.write_bytes(b"".join(word.to_bytes(4, "little") for word in words))
    command = ["aarch64-linux-gnu-objdump", "-D", "-z", "-b", "binary", "-m", "aarch64", str(at)]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    lines = [
        line.split("\t") for line in printed.splitlines() if re.match(r"\s*[0-9a-f]+:\t", line)
    ]
    assert len(lines) == len(words)
    return ["" if line[2].startswith((".inst", "udf")) else line[2].split()[0] for line in lines]


def test_decoded_as_disassembled(tmp_path: Path) -> None:
    chance = random.Random(1)
    words = [chance.getrandbits(32) for _ in range(20_000)]
    for row in ENCODINGS:
        words += (chance.getrandbits(32) & ~row.mask | row.pattern for _ in range(200))
        # Beside the row: a bit that it tells is another one.
        near = [bit for bit in range(32) if row.mask >> bit & 1]
        words += (row.pattern ^ 1 << bit for bit in near)
    words = [word for word in words if not aborts_objdump(word)]
    for word, name in zip(words, disassembled(words, tmp_path / "words"), strict=True):
        class_ = type(decode(word)).__name__
        if name and class_ in NAMES:
            assert re.fullmatch(NAMES[class_], name), f"{word:#010x} is {name}, not {class_}"
        elif OWN.fullmatch(name):
            assert class_ in NAMES, f"{word:#010x} is {name}, not {class_}"
