from gdbstub.errors import NotFound, excerpt, reply_for


def test_an_excerpt_is_one_line_that_moves_no_cursor() -> None:
    assert excerpt("node 'a\n\tb'\x1b[2J\udcff") == r"node 'a b'\x1b[2J\udcff"
    assert excerpt("x" * 100) == "x" * 80
    assert excerpt("é — fine") == "é — fine"


def test_an_error_may_name_a_file_whose_name_is_no_text() -> None:
    error = NotFound("/a\udcff\ud800/é: no such file")
    said = reply_for(error, textual=False, strings=True)
    assert said.startswith(b"E02;")
    assert bytes.fromhex(said[4:].decode()).decode() == "/a\\udcff\\ud800/é: no such file"
    assert reply_for(error, textual=True) == b"E./a??/?: no such file"


def test_an_error_reply_is_short_however_long_its_text_is() -> None:
    error = NotFound("x" * 100_000)
    assert len(reply_for(error, textual=True)) < 10_000
    assert len(reply_for(error, textual=False, strings=True)) < 20_000
