import errno
import os
import signal
import stat
import subprocess
import sys
import time

import pytest

from data.errors import UserError
from data.files import (
    atomic_write,
    check_writable,
    new_folder,
    read_manifest,
    remove_folder,
    scratch_folder,
    sweep,
    write_manifest,
)

KILLED = """
import os, sys
from data.files import atomic_write, new_folder
with {call} as made:
    print("writing", flush=True)
    sys.stdin.read()
"""


def writing(call):
    """A process that has begun to write; it is killed by the caller."""
    command = [sys.executable, "-c", KILLED.format(call=call)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "writing\n"
    return process


def kill(process):
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()


def age(folder, seconds=120):
    """Makes what is unfinished in a folder older."""
    then = time.time() - seconds
    for path in folder.glob(".*.partial"):
        os.utime(path, (then, then))


def test_a_folder_that_cannot_be_replaced_stays(tmp_path, monkeypatch):
    def save(text):
        with new_folder(tmp_path / "made", replace=True) as folder:
            (folder / "text").write_text(text)

    def refuse(source, target):
        if target == tmp_path / "made" and (source / "text").read_text() == "new":
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(target))
        rename(source, target)

    rename = os.rename
    save("old")
    monkeypatch.setattr(os, "rename", refuse)
    with pytest.raises(OSError, match="Input/output error"):
        save("new")
    assert [path.read_text() for path in tmp_path.rglob("text")] == ["old"]
    monkeypatch.undo()
    save("new")
    assert [path.read_text() for path in tmp_path.rglob("text")] == ["new"]
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


@pytest.mark.parametrize("call", ['atomic_write("{}/text")', 'new_folder("{}/text")'])
def test_what_a_killed_program_left_is_removed_and_that_of_a_living_one_is_not(tmp_path, call):
    call = call.format(tmp_path)
    process = writing(call)
    try:
        age(tmp_path)
        sweep(tmp_path)
        assert len(list(tmp_path.glob(".text.*.partial"))) == 1
    finally:
        kill(process)
    age(tmp_path)
    with atomic_write(tmp_path / "other"):
        pass
    assert len(list(tmp_path.glob(".text.*.partial"))) == 1  # a file of another name is not swept
    with atomic_write(tmp_path / "text"):
        assert len(list(tmp_path.glob(".text.*.partial"))) == 1  # the new one
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "text"]


def test_partial_files_of_other_programs_stay(tmp_path):
    for name in (".film.partial", "film.partial", ".film.mkv.12.partial"):
        (tmp_path / name).touch()
    age(tmp_path, 10**6)
    sweep(tmp_path)
    assert len(list(tmp_path.iterdir())) == 3


def test_the_process_umask_is_never_changed(tmp_path, monkeypatch):
    before = os.umask(0o027)
    try:
        monkeypatch.setattr(os, "umask", None)
        with atomic_write(tmp_path / "file") as file:
            file.write(b"x")
        with new_folder(tmp_path / "folder"):
            pass
    finally:
        monkeypatch.undo()
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640
    assert stat.S_IMODE((tmp_path / "folder").stat().st_mode) == 0o750


def test_the_folder_above_is_flushed_after_the_renaming(tmp_path, monkeypatch):
    flushed, fsync = [], os.fsync
    monkeypatch.setattr(
        os, "fsync", lambda handle: flushed.append(os.readlink(f"/proc/self/fd/{handle}")) or fsync(handle)
    )
    with atomic_write(tmp_path / "file"):
        pass
    with new_folder(tmp_path / "folder") as folder:
        (folder / "inside").touch()
    assert flushed.count(str(tmp_path)) == 2
    assert any(path.endswith("/inside") for path in flushed)


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    with pytest.raises(ZeroDivisionError), new_folder(tmp_path / "made") as folder:
        (folder / "half").touch()
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())
    with new_folder(tmp_path / "made") as folder:
        (folder / "whole").touch()
    with pytest.raises(UserError, match="made: exists already"), new_folder(tmp_path / "made"):
        pass
    with new_folder(tmp_path / "made", keep=True) as folder:
        (folder / "later").touch()
    assert [path.name for path in tmp_path.rglob("*")] == ["made", "whole"]
    with scratch_folder(tmp_path / "fetched") as folder:
        assert folder.is_dir()
    remove_folder(tmp_path / "made")
    remove_folder(tmp_path / "made")
    assert not list(tmp_path.iterdir())


def test_a_symbolic_link_stays_one_and_its_target_is_written(tmp_path):
    (tmp_path / "old").write_text("before")
    (tmp_path / "empty").mkdir()
    for name in ("old", "new", "empty", "made"):
        (tmp_path / f"to-{name}").symlink_to(name)
    with pytest.raises(ZeroDivisionError), atomic_write(tmp_path / "to-old", "w"):
        raise ZeroDivisionError
    assert (tmp_path / "old").read_text() == "before"
    for name in ("old", "new"):
        with atomic_write(tmp_path / f"to-{name}", "w") as file:
            file.write("after")
        assert (tmp_path / name).read_text() == "after"
    for name in ("empty", "made"):
        with new_folder(tmp_path / f"to-{name}") as folder:
            (folder / "whole").touch()
        assert (tmp_path / name / "whole").exists()
    assert all((tmp_path / f"to-{name}").is_symlink() for name in ("old", "new", "empty", "made"))
    assert not list(tmp_path.glob(".*"))


def test_what_is_no_plain_file_is_written_in_place(tmp_path):
    reading, writing_end = os.pipe()
    os.mkfifo(tmp_path / "fifo")
    fifo = os.open(tmp_path / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    for path, end in ((f"/dev/fd/{writing_end}", reading), (tmp_path / "fifo", fifo)):
        with atomic_write(path, "w") as file:
            file.write("text")
        assert os.read(end, 10) == b"text"
        os.close(end)
    os.close(writing_end)
    assert stat.S_ISFIFO(os.stat(tmp_path / "fifo").st_mode) and len(list(tmp_path.iterdir())) == 1
    with pytest.raises(OSError) as full, atomic_write("/dev/full") as file:
        file.write(b"text")
    assert (full.value.errno, full.value.filename) == (errno.ENOSPC, "/dev/full")
    assert stat.S_ISCHR(os.stat("/dev/full").st_mode)


def test_a_folder_in_the_place_of_a_file_is_refused_before_anything_is_written(tmp_path):
    (tmp_path / "there").mkdir()
    with pytest.raises(IsADirectoryError) as refused, atomic_write(tmp_path / "there"):
        pytest.fail("the block was entered")
    assert refused.value.filename == str(tmp_path / "there")


def test_what_cannot_be_written_is_known_beforehand_by_its_own_name(tmp_path):
    (tmp_path / "file").touch()
    for folder in (False, True):
        with pytest.raises(OSError, match="file"):
            check_writable(tmp_path / "file" / "out", folder)
    (tmp_path / "there").mkdir()
    with pytest.raises(IsADirectoryError):
        check_writable(tmp_path / "there")
    check_writable(tmp_path / "there", folder=True)
    with pytest.raises(UserError, match="exists already"):
        check_writable(tmp_path / "file", folder=True)
    # Its own name still fits, that of the unfinished file does not.
    long = tmp_path / ("x" * 250)
    with pytest.raises(OSError, match="too long") as refused:
        check_writable(long)
    assert refused.value.filename == str(long)
    check_writable(tmp_path / "new" / "out")
    check_writable(tmp_path / "file")
    check_writable("/dev/null")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "new", "there"]


def test_a_manifest_knows_each_file_and_itself(tmp_path):
    (tmp_path / "text").write_text("one")
    write_manifest(tmp_path / "report.json", {"pairs": 1})
    assert read_manifest(tmp_path / "report.json")["pairs"] == 1
    (tmp_path / "text").write_text("two")
    with pytest.raises(UserError, match="text: the file is damaged"):
        read_manifest(tmp_path / "report.json")
    (tmp_path / "text").unlink()
    with pytest.raises(UserError, match="text: cannot be read"):
        read_manifest(tmp_path / "report.json")
    (tmp_path / "text").write_text("one")
    content = (tmp_path / "report.json").read_text()
    for damaged in (content.replace('"pairs": 1', '"pairs": 2'), content[:20], "[]", ""):
        (tmp_path / "report.json").write_text(damaged)
        with pytest.raises(UserError, match="report.json: the file is damaged"):
            read_manifest(tmp_path / "report.json")
