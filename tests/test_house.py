"""Imports point down the list of roots and rooms, no modules import each other, and `__all__` is exact."""

from __future__ import annotations

from pathlib import Path

import pytest

from .house import ROOTS, House

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def house() -> House:
    return House(REPOSITORY)


def test_every_module_has_its_room(house: House) -> None:
    assert len(house.modules) > 100
    assert house.unplaced() == []


def test_imports_point_down(house: House) -> None:
    assert house.upward_imports() == []


def test_no_two_modules_import_each_other(house: House) -> None:
    assert house.circles() == []


def test_all_names_exactly_what_other_files_use(house: House) -> None:
    assert house.inexact_exports() == []


def made(folder: Path, files: dict[str, str]) -> House:
    """A house of these files; `pipeline/media/a` stands for pipeline/mmpipe/pipeline/media/a.py."""
    for name, text in files.items():
        root, *rest = name.split("/")
        below = [root, "mmpipe", root, *rest] if root in ROOTS else [root, *rest]
        path = folder.joinpath(*below).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return House(folder)


@pytest.mark.parametrize(
    ("importer", "statement", "target"),
    [
        ("core/files", "import mmpipe.manifests.io", "mmpipe.manifests.io"),
        ("manifests/io", "from mmpipe.extractors import contract", "mmpipe.extractors.contract"),
        ("extractors/contract", "from mmpipe.pipeline.store.plan import plan", "mmpipe.pipeline.store.plan"),
        ("pipeline/store/plan", "def f():\n    from mmpipe.pipeline.cli.app import main", "mmpipe.pipeline.cli.app"),
        ("pipeline/store/plan", "from ..cli.app import main", "mmpipe.pipeline.cli.app"),
        ("pipeline/store/plan", "from ..cli import app", "mmpipe.pipeline.cli.app"),
        (
            "pipeline/store/plan",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from mmpipe.pipeline.cli.app import main",
            "mmpipe.pipeline.cli.app",
        ),
    ],
)
def test_an_import_that_points_up_is_found(importer: str, statement: str, target: str, tmp_path: Path) -> None:
    others = ("core/files", "manifests/io", "extractors/contract", "pipeline/store/plan", "pipeline/cli/app")
    house = made(tmp_path, dict.fromkeys(others, "") | {importer: statement})
    (broken,) = house.upward_imports()
    assert broken.endswith(f":{statement.count(chr(10)) + 1} imports {target}")
    assert house.circles() == []


def test_imports_that_point_down_or_stay_in_the_room_are_right(tmp_path: Path) -> None:
    house = made(
        tmp_path,
        {
            "core/files": "import json",
            "manifests/io": "from mmpipe.core import files",
            "pipeline/store/a": "from mmpipe.manifests.io import f",
            "pipeline/store/b": "from .a import f",
            "pipeline/cli/app": "from mmpipe.pipeline.store import a, b",
            "pipeline/__init__": "from mmpipe.pipeline.cli.app import main",
        },
    )
    assert house.upward_imports() == [] and house.circles() == [] and house.unplaced() == []


def test_a_module_outside_the_rooms_is_found(tmp_path: Path) -> None:
    assert made(tmp_path, {"pipeline/attic/a": ""}).unplaced() == ["mmpipe.pipeline.attic.a"]


def test_modules_that_import_each_other_are_found(tmp_path: Path) -> None:
    house = made(
        tmp_path,
        {
            "core/a": "def f():\n    from mmpipe.core import b",
            "core/b": "from mmpipe.core.c import x",
            "core/c": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import mmpipe.core.a",
            "core/d": "from mmpipe.core import a, b, c",
        },
    )
    assert house.circles() == [["mmpipe.core.a", "mmpipe.core.b", "mmpipe.core.c"]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def f(): ...", "core/mmpipe/core/a.py has no __all__"),
        ("__all__ = []\ndef f(): ...", "core/mmpipe/core/a.py: f is public and not in __all__"),
        ("__all__ = []\nF: int = 1", "core/mmpipe/core/a.py: F is public and not in __all__"),
        (
            "__all__ = []\ntry:\n    F, _ = 1, 2\nfinally:\n    pass",
            "core/mmpipe/core/a.py: F is public and not in __all__",
        ),
        ("__all__ = ['g', 'used']\ndef used(): ...", "core/mmpipe/core/a.py: __all__ names g, which is not defined"),
        (
            "__all__ = ['f', 'used']\ndef f(): ...\ndef used(): f()",
            "core/mmpipe/core/a.py: f is in __all__ and used in no other file",
        ),
    ],
)
def test_an_inexact_list_of_names_is_found(text: str, message: str, tmp_path: Path) -> None:
    assert made(tmp_path, {"core/a": text, "tests/b": "from mmpipe.core.a import used"}).inexact_exports() == [message]


@pytest.mark.parametrize(
    "use",
    [
        "from mmpipe.core.a import f",
        "from mmpipe.core import a\na.f()",
        "import mmpipe.core.a\nmmpipe.core.a.f()",
        "import mmpipe.core.a as b\nb.f()",
        "'mmpipe.core.a:f'",
        "monkeypatch.setattr('mmpipe.core.a.f', None)",
        "LAZY = {'f': 'mmpipe.core.a'}",
    ],
)
def test_every_way_to_use_a_name_counts(use: str, tmp_path: Path) -> None:
    house = made(
        tmp_path, {"core/a": "__all__ = ['f']\ndef f(): ...", "core/__init__": "'''A room.'''", "tests/b": use}
    )
    assert house.inexact_exports() == []


def test_the_types_of_a_signature_belong_to_it(tmp_path: Path) -> None:
    text = "__all__ = ['A', 'B', 'C', 'D', 'f']\nclass A:\n    b: 'str'\n    c: list[C]\nclass B: ...\nclass C: ...\n"
    house = made(
        tmp_path, {"core/a": text + "class D: ...\ndef f() -> A: D()", "tests/b": "from mmpipe.core.a import f"}
    )
    unused = [line.split()[1] for line in house.inexact_exports()]
    assert unused == ["B", "D"]


def test_names_of_the_public_api_need_no_user_and_may_be_lazy(tmp_path: Path) -> None:
    text = "__all__ = ['f']\n_WHERE = {'f': 'mmpipe.core.a'}\ndef __getattr__(name): ...\n"
    house = made(tmp_path, {"core/a": "__all__ = ['f']\ndef f(): ...", "pipeline/__init__": text})
    assert house.inexact_exports() == []


def test_a_page_of_the_docs_uses_what_it_imports(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.md").write_text("```python\nfrom mmpipe.core.a import f, g\n```\n")
    house = made(tmp_path, {"core/a": "__all__ = ['f', 'g']\ndef f(): ...\ndef g(): ..."})
    assert house.inexact_exports() == []
