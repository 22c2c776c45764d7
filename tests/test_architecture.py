"""The rooms of the package: which imports which, and their grades. The rules are in the tables of `capgo_async/README.md`.

They are stated for folders: a new module is held to the rules of its folder and needs no edit, neither here nor there.
"""

import ast
import functools
import re
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "capgo_async"

ROW = re.compile(r"\| `([\w/.]+)` \| .+ \| ([ABC])(.*) \|")
EXCEPTIONS = re.compile(r"((?: `[\w/.]+`)+) ([ABC])")

SLEEPERS = {
    "http/absence.py",
    "http/requester.py",
    "bulk/storage/lock.py",  # waits for those who only ask, in blocking code
    "bulk/jobfile/journal.py",  # records now and then that a run goes on
    "bulk/job.py",  # looks a second time before it calls an operation contradicted
    "sandbox/inprocess.py",  # simulates the time that a request is under way
    "sandbox/server.py",  # simulates latency
    "testing/clock.py",  # lets virtual time pass
    "cli/job/progress.py",  # redraws at intervals
    "cli/job/watching.py",  # reads a job at intervals
    "cli/job/streaming.py",  # tells the progress at intervals
}
LONGEST = 300
AIOHTTP = {"http/transport.py", "http/direct.py", "sandbox/server.py", "cli/job/watching.py"}
OUTSIDE_WORLD = {
    "asyncio",
    "logging",
    "os",
    "pathlib",
    "random",
    "secrets",
    "socket",
    "sqlite3",
    "subprocess",
    "sys",
    "threading",
    "time",
}
CLOCKS = ("time.time", "time.monotonic", "time.perf_counter", "datetime.now", "datetime.utcnow", "date.today")


class Module:
    """One source file: its name within the package, its syntax tree, and what it imports. It is read when it is asked."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = path.relative_to(PACKAGE).as_posix()

    @functools.cached_property
    def text(self) -> str:
        return self.path.read_text()

    @functools.cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @property
    def folder(self) -> str:
        return self.name.rpartition("/")[0]

    @property
    def top(self) -> str:
        """Return the folder or file on the top level, without its suffix."""
        return self.name.partition("/")[0].removesuffix(".py")

    @property
    def room(self) -> str:
        """Return the room of the map that it belongs to, the narrowest one; "" for what the map does not list."""
        place = self.name
        while place and place not in ROOMS:
            place = place.rpartition("/")[0]
        return place

    @functools.cached_property
    def grade(self) -> str:
        place = self.name
        while place not in GRADES:
            place = place.rpartition("/")[0]
        return GRADES[place]

    @functools.cached_property
    def imports(self) -> frozenset[str]:
        """Return the absolute names of what it imports, wherever in the file."""
        return frozenset(name for node in ast.walk(self.tree) for name in self._imported_by(node))

    @functools.cached_property
    def imports_for_types(self) -> frozenset[str]:
        """Return the names that only type checkers import."""
        conditions = (node for node in ast.walk(self.tree) if isinstance(node, ast.If))
        blocks = [node for node in conditions if ast.unparse(node.test) == "TYPE_CHECKING"]
        return frozenset(name for block in blocks for node in ast.walk(block) for name in self._imported_by(node))

    def _imported_by(self, node: ast.AST) -> Iterator[str]:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = ["capgo_async", *self.name.split("/")][: -node.level] if node.level else []
            base = ".".join([*package, *((node.module or "").split(".") if node.module else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)

    @functools.cached_property
    def own_imports(self) -> frozenset[str]:
        """Return the names of the imported files of this package."""
        return frozenset(filter(None, (file_of(name) for name in self.imports))) - {self.name}

    @functools.cached_property
    def foreign_imports(self) -> frozenset[str]:
        """Return the top-level names of the modules of others that it imports when it runs."""
        return frozenset(name.partition(".")[0] for name in self.imports - self.imports_for_types) - {"capgo_async"}

    @functools.cached_property
    def calls(self) -> list[str]:
        return [ast.unparse(node.func) for node in ast.walk(self.tree) if isinstance(node, ast.Call)]


def file_of(name: str) -> str | None:
    """Return the file of the package that `name` stands for, `None` where it is not ours."""
    parts = name.split(".")
    if parts.pop(0) != "capgo_async":
        return None
    while parts:
        for candidate in ("/".join(parts) + ".py", "/".join([*parts, "__init__.py"])):
            if candidate in FILES:
                return candidate
        parts.pop()
    return "__init__.py"


def rooms_of_the_map() -> tuple[list[str], dict[str, str]]:
    """Return the rooms in the order of the map, and the grade of each and of the places in it that differ."""
    rooms: list[str] = []
    grades = {"__init__.py": "C", "__main__.py": "C"}
    for room, grade, rest in ROW.findall((PACKAGE / "README.md").read_text()):
        rooms.append(room.rstrip("/"))
        grades[room.rstrip("/")] = grade
        for names, differing in EXCEPTIONS.findall(rest):
            grades |= {room + name.strip("`/"): differing for name in names.split()}
    inner = [room for room in rooms if room.startswith("bulk/")]
    outer = [room for room in rooms if room not in inner]
    place = outer.index("bulk")
    return [*outer[:place], *inner, *outer[place:]], grades


ROOMS, GRADES = rooms_of_the_map()
FILES = {path.relative_to(PACKAGE).as_posix(): path for path in sorted(PACKAGE.rglob("*.py"))}
MODULES = {name: Module(path) for name, path in FILES.items()}


def every(*grades: str) -> list[Module]:
    return [module for module in MODULES.values() if not grades or module.grade in grades]


def acyclic(arrows: dict[str, set[str]]) -> None:
    try:
        tuple(TopologicalSorter(arrows).static_order())
    except CycleError as error:
        pytest.fail(f"imports run in a circle: {' -> '.join(error.args[1])}")


def test_grade_a_has_no_async_no_clock_no_chance_no_files_no_logging() -> None:
    for module in every("A"):
        awaiting = (ast.AsyncFunctionDef, ast.AsyncFor, ast.AsyncWith, ast.Await)
        found = {node for node in ast.walk(module.tree) if isinstance(node, awaiting)}
        classes = [node for node in ast.walk(module.tree) if found and isinstance(node, ast.ClassDef)]
        # A protocol may promise something asynchronous; it does nothing itself.
        protocols = [each for each in classes if any(ast.unparse(base).startswith("Protocol") for base in each.bases)]
        found -= {inner for protocol in protocols for inner in ast.walk(protocol)}
        assert not [ast.unparse(node) for node in found], module.name
        assert not OUTSIDE_WORLD & module.foreign_imports, module.name
        assert not [call for call in module.calls if call == "open" or call.endswith(CLOCKS)], module.name


def test_grade_b_awaits_only_anyio_and_reads_only_its_clock() -> None:
    for module in every("B"):
        assert not OUTSIDE_WORLD & module.foreign_imports, module.name
        assert not [call for call in module.calls if call.endswith(CLOCKS)], module.name


def test_few_modules_sleep() -> None:
    sleeping = {
        module.name for module in every() if any(call.rpartition(".")[2] in {"sleep", "sleep_until"} for call in module.calls)
    }
    assert sleeping == SLEEPERS


def test_aiohttp_is_touched_by_the_transport_and_the_server_of_the_sandbox_only() -> None:
    assert {module.name for module in every() if "aiohttp" in module.foreign_imports} == AIOHTTP


def test_opentelemetry_is_off_unless_somebody_imports_its_room() -> None:
    assert {module.name for module in every() if "opentelemetry" in module.foreign_imports} == {"telemetry.py"}
    assert not [module.name for module in every() if "telemetry.py" in module.own_imports]


def test_a_room_imports_only_rooms_above_it_in_the_map() -> None:
    for module in every():
        if module.room:
            later = {room for room in ROOMS[ROOMS.index(module.room) + 1 :] if not room.startswith(f"{module.room}/")}
            assert not later & {MODULES[name].room for name in module.own_imports}, module.name


def test_no_files_import_each_other_in_a_circle() -> None:
    acyclic({module.name: set(module.own_imports) for module in every()})


def test_no_folders_import_each_other_in_a_circle() -> None:
    """A file beside folders is a room of its own: it may stand above some of them and below others."""
    parents = {folder.rpartition("/")[0] for folder in {module.folder for module in every()} if folder}

    def room(module: Module) -> str:
        return module.name if module.folder in parents else module.folder

    arrows: dict[str, set[str]] = {}
    for module in every():
        arrows.setdefault(room(module), set()).update(room(MODULES[name]) for name in module.own_imports)
    acyclic({mine: others - {mine} for mine, others in arrows.items()})


def test_the_sandbox_shares_nothing_with_the_client() -> None:
    foreign = {
        (module.name, name)
        for module in every()
        if module.top == "sandbox"
        for name in module.own_imports
        if MODULES[name].top not in {"sandbox", "version"}
    }
    # In one process with a client, the sandbox stands in for a transport.
    assert foreign == {("sandbox/inprocess.py", "http/wire.py"), ("sandbox/inprocess.py", "errors.py")}


def test_only_the_command_rehearsals_and_tests_use_the_sandbox() -> None:
    users = {module.top for module in every() if any(MODULES[name].top == "sandbox" for name in module.own_imports)}
    assert users - {"__init__"} == {"sandbox", "rehearsal", "testing", "cli"}  # the package itself only hands on the name


def test_pytest_is_imported_by_its_plugin_alone_which_imports_nothing_else() -> None:
    assert {module.name for module in every() if "pytest" in module.foreign_imports} == {"testing/plugin.py"}
    loaded = [ast.parse(MODULES[name].text).body for name in ("testing/plugin.py", "testing/__init__.py")]
    at_once = {ast.unparse(node) for body in loaded for node in body if isinstance(node, ast.Import | ast.ImportFrom)}
    assert {line.split()[1] for line in at_once} == {"collections.abc", "typing", "pytest", "importlib"}


def test_the_runner_knows_neither_http_nor_files() -> None:
    rooms = {MODULES[name].folder or name for name in MODULES["bulk/running/runner.py"].own_imports}
    assert rooms <= {"errors.py", "concurrency.py", "bulk/operations", "bulk/schedule", "bulk/forecast"}


def test_json_is_read_and_written_by_msgspec_and_answers_in_one_place() -> None:
    assert not [module.name for module in every() if "json" in module.foreign_imports]
    decoding = {module.name for module in every() if any("msgspec.json" in call for call in module.calls)}
    assert {name for name in decoding if not name.startswith(("sandbox/", "cli/", "bulk/"))} == {"http/wire.py"}


def test_nothing_below_the_command_line_names_an_option_a_command_or_an_exit_code() -> None:
    for module in every():
        if module.top not in {"cli", "__main__"}:
            assert not re.findall(r"(?<![\w-])--[a-z][\w-]*|capgo-async \w+|exit code", module.text), module.name


def test_a_long_file_says_why_it_is_long() -> None:
    for module in every():
        if len(module.text.splitlines()) > LONGEST:
            docstring = ast.get_docstring(module.tree) or ""
            assert f"{LONGEST} lines" in " ".join(docstring.split()), module.name


def test_the_map_names_files_and_folders_that_exist() -> None:
    named = re.findall(r"`([\w/]+(?:\.py|\.md|/))`", (PACKAGE / "README.md").read_text())
    root = PACKAGE.parent
    paths = [path for top in root.glob("[!.]*") for path in (top, *top.rglob("*"))]
    places = {path.relative_to(root).as_posix() + "/" * path.is_dir() for path in paths}
    assert named
    assert not [name for name in named if not any(place == name or place.endswith(f"/{name}") for place in places)]
