from gdbstub.errors import excerpt


def test_an_excerpt_is_one_line_that_moves_no_cursor() -> None:
    assert excerpt("node 'a\n\tb'\x1b[2J\udcff") == r"node 'a b'\x1b[2J\udcff"
    assert excerpt("x" * 100) == "x" * 80
    assert excerpt("é — fine") == "é — fine"
