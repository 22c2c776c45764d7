"""The walls of the house and the grades of its rooms, read from the imports and the calls in the source."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "capgo_async"

ORDER = [
    "errors",
    "models",
    "codes",
    "wire",
    "limits",
    "known",
    "others",
    "windows",
    "lesson",
    "gates",
    "budget",
    "congestion",
    "retry",
    "dialect",
    "endpoints",
    "pacing",
    "paging",
    "ranges",
    "fanning",
    "splitting",
    "efforts",
    "requester",
    "learning",
    "resources",
    "client",
    "ring",
    "calibration",
    "bulk",
    "rehearsal",
    "cli",
]
"""Who stands later may import who stands before, and nobody else; `transport` and its parts import wire and errors."""

BULK_ORDER = [
    "clock",
    "reasons",
    "operations",
    "kinds",
    "spreading",
    "scheduling.resting",
    "scheduling.keys",
    "scheduling.lanes",
    "scheduling.line",
    "scheduling.forecast",
    "scheduling.gauge",
    "scheduling.schedule",
    "forms",
    "comparing",
    "stage",
    "jobfile.staged",
    "jobfile.schema",
    "runner",
    "advice",
    "report",
    "plan",
    "jobfile.waves",
    "json_faults",
    "running.stopping",
    "running.bounds",
    "database",
    "jobfile.facts",
    "jobfile.history",
    "jobfile.reaches",
    "jobfile.course",
    "jobfile.records",
    "jobfile.verdicts",
    "jobfile.contents",
    "jobfile.outcomes",
    "jobfile.assumptions",
    "jobfile.seen",
    "jobfile.journal",
    "inventory.exported",
    "jobfile.census",
    "jobfile.staging",
    "planning.sources",
    "planning.scanning",
    "planning.looking",
    "planning.everywhere",
    "planning.drifting",
    "planning.drafting",
    "running.execution",
    "verification",
    "planning.undoing",
    "running.waves",
    "running.metering",
    "running.outlook",
    "running.gauging",
    "naming",
    "job",
    "inventory.columns",
    "inventory.shelf",
    "inventory.taking",
    "inventory.formats",
    "inventory.exporting",
    "inventory.choosing",
]

GRADE_A = [
    "errors.py",
    "codes.py",
    "models",
    "wire.py",
    "endpoints",
    "dialect.py",
    "retry.py",
    "limits.py",
    "windows.py",
    "lesson.py",
    "gates.py",
    "ranges.py",
    "budget.py",
    "known.py",
    "others.py",
    "congestion.py",
    "version.py",
    "bulk/comparing.py",
    "bulk/scheduling/keys.py",
    "bulk/scheduling/forecast.py",
    "bulk/scheduling/lanes.py",
    "bulk/scheduling/line.py",
    "bulk/scheduling/resting.py",
    "bulk/scheduling/gauge.py",
    "bulk/scheduling/schedule.py",
    "bulk/forms.py",
    "bulk/kinds.py",
    "bulk/inventory/columns.py",
    "bulk/operations.py",
    "bulk/stage.py",
    "bulk/plan.py",
    "bulk/reasons.py",
    "bulk/json_faults.py",
    "bulk/spreading.py",
    "bulk/jobfile/schema.py",
    "bulk/jobfile/staged.py",
    "bulk/report.py",
    "bulk/running/stopping.py",
    "bulk/advice.py",
    "bulk/running/bounds.py",
    "sandbox/authentication.py",
    "sandbox/charts.py",
    "sandbox/exchange.py",
    "sandbox/faults.py",
    "sandbox/inspection.py",
    "sandbox/javascript.py",
    "sandbox/limiting.py",
    "sandbox/parameters.py",
    "sandbox/routes",
    "sandbox/sandbox.py",
    "sandbox/seeding.py",
    "sandbox/settings.py",
    "sandbox/state",
    "sandbox/timestamps.py",
    "sandbox/validation.py",
]
GRADE_B = [
    "calibration.py",
    "pacing.py",
    "paging.py",
    "fanning.py",
    "splitting.py",
    "efforts.py",
    "requester.py",
    "learning.py",
    "resources",
    "bulk/planning/everywhere.py",
    "bulk/planning/drifting.py",
    "bulk/running/execution.py",
    "bulk/planning/looking.py",
    "bulk/inventory/taking.py",
    "bulk/planning/drafting.py",
    "bulk/runner.py",
    "bulk/planning/scanning.py",
    "bulk/planning/undoing.py",
    "bulk/verification.py",
    "rehearsal/scenery.py",
    "sandbox/inprocess.py",
]
GRADE_C = [
    "__init__.py",
    "__main__.py",
    "public.py",
    "client.py",
    "ring.py",
    "transport.py",
    "direct.py",
    "deadlines.py",
    "bulk/__init__.py",
    "bulk/inventory/__init__.py",
    "bulk/jobfile/__init__.py",
    "bulk/planning/__init__.py",
    "bulk/running/__init__.py",
    "bulk/scheduling/__init__.py",
    "bulk/inventory/choosing.py",
    "bulk/clock.py",
    "bulk/jobfile/census.py",
    "bulk/jobfile/contents.py",
    "bulk/database.py",
    "bulk/inventory/exported.py",
    "bulk/inventory/exporting.py",
    "bulk/inventory/formats.py",
    "bulk/jobfile/assumptions.py",
    "bulk/jobfile/course.py",
    "bulk/jobfile/seen.py",
    "bulk/jobfile/facts.py",
    "bulk/job.py",
    "bulk/jobfile/history.py",
    "bulk/jobfile/journal.py",
    "bulk/running/metering.py",
    "bulk/running/gauging.py",
    "bulk/running/outlook.py",
    "bulk/naming.py",
    "bulk/jobfile/outcomes.py",
    "bulk/jobfile/reaches.py",
    "bulk/jobfile/records.py",
    "bulk/inventory/shelf.py",
    "bulk/planning/sources.py",
    "bulk/jobfile/staging.py",
    "bulk/jobfile/verdicts.py",
    "bulk/jobfile/waves.py",
    "bulk/running/waves.py",
    "rehearsal/__init__.py",
    "rehearsal/rehearsing.py",
    "cli",
    "sandbox/__init__.py",
    "sandbox/server.py",
    "sandbox/virtual_time.py",
]

SLEEPERS = {
    "pacing.py",
    "requester.py",
    "bulk/runner.py",
    "bulk/job.py",  # a second look at a contradiction
    "sandbox/inprocess.py",  # the way of a request takes time there
    "sandbox/server.py",  # a fault may be latency
    "cli/progress.py",  # the next look at the counters
}
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
CLOCKS = {"time.time", "time.monotonic", "time.perf_counter", "datetime.now", "datetime.utcnow", "date.today"}


def sources() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def graded(grade: list[str]) -> list[Path]:
    return [path for path in sources() if any(room(path) == name or room(path).startswith(f"{name}/") for name in grade)]


def imports(path: Path) -> Iterator[tuple[str, str]]:
    """Yield each module that `path` imports, absolute, and the name taken from it."""
    parts = list(path.relative_to(PACKAGE.parent).with_suffix("").parts)
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, ""
        elif isinstance(node, ast.ImportFrom):
            base = parts[: -node.level] if node.level else []
            module = ".".join([*base, *(node.module or "").split(".")]).rstrip(".")
            for alias in node.names:
                yield module, alias.name


def own_rooms(path: Path) -> Iterator[str]:
    """Yield the rooms of ours that `path` imports, such as `bulk.journal`."""
    for module, name in imports(path):
        if module == "capgo_async":
            yield name
        elif module.startswith("capgo_async."):
            below = module.removeprefix("capgo_async.")
            known = (PACKAGE / below.replace(".", "/") / f"{name}.py").exists()
            yield f"{below}.{name}" if known else below


def calls(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func)


def ids(path: Path) -> str:
    return room(path)


def test_every_file_has_a_grade() -> None:
    assert sorted({*graded(GRADE_A), *graded(GRADE_B), *graded(GRADE_C)}) == sources()


@pytest.mark.parametrize("path", graded(GRADE_A), ids=ids)
def test_grade_a_has_no_async_no_clock_no_chance_no_files_no_logging(path: Path) -> None:
    tree = ast.parse(path.read_text())
    # A protocol may promise something asynchronous; it does nothing itself.
    protocols = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and any(ast.unparse(base).startswith("Protocol") for base in node.bases)
        for inner in ast.walk(node)
    }
    awaiting = (ast.AsyncFunctionDef, ast.AsyncFor, ast.AsyncWith, ast.Await)
    assert not [node for node in ast.walk(tree) if isinstance(node, awaiting) and node not in protocols]
    assert not OUTSIDE_WORLD & {module.split(".")[0] for module, _ in imports(path)}
    assert not [call for call in calls(path) if call == "open" or any(call.endswith(clock) for clock in CLOCKS)]


@pytest.mark.parametrize("path", graded(GRADE_B), ids=ids)
def test_grade_b_awaits_only_anyio_and_reads_only_its_clock(path: Path) -> None:
    assert not OUTSIDE_WORLD & {module.split(".")[0] for module, _ in imports(path)}
    assert not [call for call in calls(path) if any(call.endswith(clock) for clock in CLOCKS)]


@pytest.mark.parametrize("path", [*graded(GRADE_B), *graded(GRADE_C)], ids=ids)
def test_few_rooms_sleep(path: Path) -> None:
    sleeping = [call for call in calls(path) if call.split(".")[-1] in {"sleep", "sleep_until"}]
    assert not sleeping or room(path) in SLEEPERS


@pytest.mark.parametrize("path", sources(), ids=ids)
def test_aiohttp_is_touched_by_the_transport_and_the_sandboxs_face_only(path: Path) -> None:
    if room(path) in {"transport.py", "direct.py", "sandbox/server.py", "client.py"}:
        # The client names the type of a caller's session, for type checkers only.
        assert room(path) != "client.py" or "if TYPE_CHECKING:\n    import aiohttp" in path.read_text()
        return
    assert "aiohttp" not in {module.split(".")[0] for module, _ in imports(path)}


@pytest.mark.parametrize("path", sources(), ids=ids)
def test_imports_run_one_way(path: Path) -> None:
    mine = room(path).removesuffix(".py").split("/")[0]
    found = {name.split(".")[0] for name in own_rooms(path)} - {"version", mine, ""}
    if mine in {"transport", "direct", "deadlines"}:
        assert found <= {"transport": {"wire", "errors", "direct", "deadlines"}, "direct": {"wire"}, "deadlines": set()}[mine]
    elif mine == "sandbox":
        assert found <= ({"wire", "errors"} if room(path) == "sandbox/inprocess.py" else set())
    elif mine == "client":
        assert found <= {*ORDER[: ORDER.index("client")], "transport"}
    elif mine == "cli":
        assert found <= {*ORDER, "sandbox"}
    elif mine == "rehearsal":
        assert found <= {*ORDER[: ORDER.index("rehearsal")], "sandbox"}
    elif mine in ORDER:
        assert found <= set(ORDER[: ORDER.index(mine)])


@pytest.mark.parametrize("path", [path for path in sources() if room(path).startswith("bulk/")], ids=ids)
def test_imports_run_one_way_within_the_engine(path: Path) -> None:
    mine = room(path).removesuffix(".py").removeprefix("bulk/").replace("/", ".")
    if mine.endswith("__init__"):
        return
    found = {name.removeprefix("bulk.") for name in own_rooms(path) if name.startswith("bulk.")}
    assert found <= set(BULK_ORDER[: BULK_ORDER.index(mine)])


@pytest.mark.parametrize(
    "path", [path for path in sources() if not room(path).startswith("cli/") and room(path) != "__main__.py"], ids=ids
)
def test_nothing_below_the_command_line_names_a_flag_a_command_or_an_exit_code(path: Path) -> None:
    assert re.findall(r"(?<![\w-])--[a-z][\w-]*|capgo-async \w+|exit code", path.read_text()) == []


def test_the_runner_knows_neither_http_nor_files() -> None:
    found = set(own_rooms(PACKAGE / "bulk" / "runner.py"))
    assert found == {"errors", "bulk.operations", "bulk.scheduling.line", "bulk.scheduling.schedule"}
    rooms = {"operations", "scheduling.gauge", "scheduling.keys", "scheduling.line", "scheduling.resting"}
    found = set(own_rooms(PACKAGE / "bulk" / "scheduling" / "schedule.py"))
    assert found == {"limits", *(f"bulk.{name}" for name in rooms)}


def test_nothing_else_knows_json() -> None:
    knowing = {room(path) for path in sources() for module, _ in imports(path) if module == "json"}
    assert knowing == set()
    encoding = {
        room(path)
        for path in sources()
        if not room(path).startswith(("sandbox/", "cli/", "bulk/")) and any("msgspec.json" in call for call in calls(path))
    }
    assert encoding == {"wire.py"}
