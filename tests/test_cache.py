"""Where the cache is."""

from course_lib import cache


def test_the_environment_names_the_folder(cache_folder, monkeypatch):
    assert cache.cache_dir() == cache_folder
    assert cache_folder.is_dir()
    monkeypatch.setenv("COURSE_CACHE", "~/elsewhere")
    monkeypatch.setenv("HOME", str(cache_folder))
    assert cache.cache_dir() == cache_folder / "elsewhere"


def test_without_the_variable_it_is_the_users_cache_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("COURSE_CACHE", "")
    monkeypatch.setattr(cache.platformdirs, "user_cache_dir", lambda name: str(tmp_path / name))
    assert cache.cache_dir() == tmp_path / "small-networks-course"
