import errno
import os

import pytest

from daemon.collectors.base import ProcFile, network_file, one_of, printable, understood
from daemon.errors import CollectorError, NotAvailable


def test_a_file_is_read_anew_from_its_start_with_one_descriptor(tree):
    path = tree.write("proc/x", "first\n")
    file = ProcFile(path)
    assert file.read() == b"first\n"
    descriptor = file._descriptor
    tree.write("proc/x", "second, longer\n")
    assert file.read() == b"second, longer\n"
    assert file._descriptor == descriptor
    file.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_a_content_longer_than_one_read_is_whole(tree):
    file = ProcFile(tree.write("proc/x", "abc" * 1000), size=7)
    assert file.read() == b"abc" * 1000
    file.close()


def test_a_file_that_appears_later_is_found(tree):
    file = ProcFile(tree.top / "late")
    with pytest.raises(NotAvailable, match="late: No such file"):
        file.read()
    tree.write("late", "here")
    assert file.read() == b"here"
    file.close()


@pytest.mark.parametrize(
    ("number", "kind"),
    [(errno.EOPNOTSUPP, NotAvailable), (errno.EACCES, NotAvailable), (errno.EIO, CollectorError)],
)
def test_an_error_while_reading_closes_the_descriptor_and_the_next_read_opens_anew(tree, monkeypatch, number, kind):
    file = ProcFile(tree.write("proc/x", "content"))
    file.read()

    def fail(*_):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, "pread", fail)
        with pytest.raises(CollectorError) as caught:
            file.read()
    assert type(caught.value) is kind
    assert file._descriptor == -1
    assert file.read() == b"content"
    file.close()


def test_the_network_of_the_first_process_comes_before_our_own(tree):
    tree.write("proc/net/dev", "")
    assert network_file(tree.paths, "dev").path == tree.paths.proc / "net" / "dev"
    tree.write("proc/1/net/dev", "")
    assert network_file(tree.paths, "dev").path == tree.paths.proc / "1" / "net" / "dev"


def test_a_parsing_error_names_the_file(tree):
    with pytest.raises(CollectorError, match="stat: not understood"), understood(tree.paths.proc / "stat"):
        int("x")


def test_names_of_any_bytes_become_printable_text():
    assert printable("/mnt/größe x".encode()) == "/mnt/größe x"
    assert printable(b"/a\nb\xff") == "/a\\x0ab\\xff"


def test_no_pattern_matches_nothing_and_a_pattern_the_whole_name():
    assert not one_of(()).match("")
    assert one_of(("sd*",)).match("sda")
    assert not one_of(("sd",)).match("sda")
