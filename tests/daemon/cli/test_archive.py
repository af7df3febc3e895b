import errno
import io
import os
import stat
import tarfile

import pytest

from daemon.cli.archive import private_archive


def put(archive, name, content):
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


def test_it_is_whole_and_for_its_maker_alone(tmp_path):
    file = tmp_path / "a.tar.gz"
    (tmp_path / ".a.tar.gz.partial").symlink_to(tmp_path / "elsewhere")  # of a run that was killed, or laid as a trap
    before = os.umask(0)
    try:
        with private_archive(file) as archive:
            put(archive, "one", b"x" * 1000)
            assert not file.exists()
    finally:
        os.umask(before)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with tarfile.open(file) as archive:
        assert archive.extractfile("one").read() == b"x" * 1000
    assert [path.name for path in tmp_path.iterdir()] == ["a.tar.gz"]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_what_fails_leaves_nothing_and_the_file_before(tmp_path, error):
    file = tmp_path / "a.tar.gz"
    file.write_bytes(b"the one before")

    def fill():
        with private_archive(file) as archive:
            put(archive, "one", b"x")
            raise error

    with pytest.raises(type(error)):
        fill()
    assert [path.name for path in tmp_path.iterdir()] == ["a.tar.gz"]
    assert file.read_bytes() == b"the one before"


def test_a_folder_that_is_not_there_is_an_error_of_the_system(tmp_path):
    with pytest.raises(FileNotFoundError), private_archive(tmp_path / "none" / "a.tar.gz"):
        pass
