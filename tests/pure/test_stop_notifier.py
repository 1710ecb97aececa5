"""Word of a stop gets to the event loop's thread once, whether somebody waits for it or not."""

import asyncio
import threading

from gdbstub.protocol.server.stop_notifier import StopNotifier
from tests.bounds import HANGS


class Desk:
    """Owner of a notifier, which counts the calls of its callback."""

    def __init__(self) -> None:
        self.news = StopNotifier(asyncio.get_running_loop(), self.look)
        self.looks = 0
        self.looked = asyncio.Event()

    def look(self) -> None:
        self.looks += 1
        self.looked.set()


def in_thread(call: threading.Thread) -> threading.Thread:
    call.start()
    return call


async def test_who_waits_is_told_and_nobody_else() -> None:
    desk = Desk()
    teller = in_thread(threading.Thread(target=desk.news.notify))
    came = desk.news.wait(0) or desk.news.wait(HANGS)
    teller.join()
    if not came:  # it was told of before
        await desk.looked.wait()
    assert (came, desk.looks) in ((True, 0), (False, 1))
    await asyncio.sleep(0)
    assert came + desk.looks == 1


async def test_word_that_came_before_is_for_the_loops_next_turn() -> None:
    desk = Desk()
    desk.news.notify()
    desk.news.notify()
    assert not desk.news.wait(20)
    assert desk.looks == 0
    await desk.looked.wait()
    assert desk.looks == 1


async def test_word_that_does_not_come_in_time_comes_by_the_loop() -> None:
    desk = Desk()
    assert not desk.news.wait(0)
    desk.news.notify()
    await desk.looked.wait()
    assert desk.looks == 1


async def test_no_word_is_lost_and_none_is_told_twice() -> None:
    """However the time being up and the word coming fall together."""
    desk = Desk()
    go, rounds = threading.Semaphore(0), 2000

    def notify() -> None:
        for _ in range(rounds):
            go.acquire()
            desk.news.notify()

    teller = in_thread(threading.Thread(target=notify))
    told = 0
    for turn in range(rounds):
        desk.looked.clear()
        before = desk.looks
        go.release()
        if desk.news.wait(turn % 7 * 1e-5):
            told += 1
        else:
            await desk.looked.wait()
            told += desk.looks - before
        assert told == turn + 1
    teller.join()
    assert told == rounds


async def test_word_after_the_end_harms_nobody() -> None:
    loop = asyncio.new_event_loop()
    news = StopNotifier(loop, lambda: None)
    loop.close()
    news.notify()
