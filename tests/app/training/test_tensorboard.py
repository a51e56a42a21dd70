import resource

import pytest

from app.training.tensorboard import ScalarWriter


def test_a_file_that_cannot_grow_is_an_error_of_the_system(tmp_path):
    board = ScalarWriter(tmp_path)
    board.write(1, loss=1.0)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300, limits[1]))
    try:
        with pytest.raises(OSError) as error:
            for update in range(2, 20):
                board.write(update, loss=1.0, nll=2.0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert error.value.filename == str(tmp_path)


def test_a_folder_that_cannot_be_made_is_an_error_of_the_system(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(OSError) as error:
        ScalarWriter(tmp_path / "file" / "board").write(1, loss=1.0)
    assert error.value.filename == str(tmp_path / "file" / "board")
