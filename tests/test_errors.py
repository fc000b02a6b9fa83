"""The exceptions of the package: one place, one table, and they cross processes."""

from __future__ import annotations

import pickle
import pkgutil
from importlib import import_module
from typing import get_args

import pytest

import facilitair
from facilitair import errors
from facilitair import events as ev
from facilitair.errors import TABLE, Code, FacilitairError, Problem, RunError
from facilitair.result import Result

RESULT = Result("half", ev.RunState(content="half", status="failed"))


def all_errors(kind: type[FacilitairError] = FacilitairError) -> list[type[FacilitairError]]:
    return [kind, *(found for child in kind.__subclasses__() for found in all_errors(child))]


def made(kind: type[FacilitairError]) -> FacilitairError:
    """Return an error of that kind, made as its own arguments want it."""
    match kind:
        case errors.ConfigKeyError:
            return errors.ConfigKeyError("limits.max_cost", "is no number")
        case errors.ServerError | errors.UnreachableError | errors.BrokenError | errors.BusyError:
            return kind("gone", retry_after=3.5)
        case errors.Refused:
            return errors.Refused(405, "Method Not Allowed", "use GET", {"Allow": "GET"})
        case errors.RunFailed:
            return errors.RunFailed("budget_exceeded", "spent")
        case _ if issubclass(kind, RunError):
            return kind("it ended early", RESULT)
        case _:
            return kind("what, to what, and what to do")


def test_every_exception_of_the_package_is_in_errors() -> None:
    elsewhere = set()
    for module in pkgutil.walk_packages(facilitair.__path__, "facilitair."):
        if module.name.endswith("__main__"):
            continue
        for value in vars(import_module(module.name)).values():
            if isinstance(value, type) and issubclass(value, BaseException):
                own = value.__module__.startswith("facilitair.")
                if own and value.__module__ != "facilitair.errors":
                    elsewhere.add(f"{value.__module__}.{value.__name__}")
    assert not elsewhere


@pytest.mark.parametrize("kind", all_errors(), ids=lambda kind: kind.__name__)
def test_every_error_survives_pickle(kind: type[FacilitairError]) -> None:
    error = made(kind)

    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own

    assert type(copy) is kind
    assert (str(copy), copy.args) == (str(error), error.args)
    assert vars(copy) == vars(error)


@pytest.mark.parametrize("kind", all_errors(), ids=lambda kind: kind.__name__)
def test_every_error_is_in_the_tree_that_the_module_draws(kind: type[FacilitairError]) -> None:
    assert errors.__doc__ is not None
    assert kind.__name__ in errors.__doc__


def test_the_table_has_every_code_and_leads_back_to_it() -> None:
    assert set(TABLE) == set(get_args(Code))
    for code, row in TABLE.items():
        assert row.exception.code == code


@pytest.mark.parametrize(
    ("code", "kind", "status", "http"),
    [
        ("agents_failed", errors.AgentsFailedError, 1, 502),
        ("key_refused", errors.KeyRefusedError, 3, 503),
        ("budget_exceeded", errors.BudgetExceededError, 4, 402),
        ("deadline_exceeded", errors.DeadlineExceededError, 124, 504),
        ("internal", errors.InternalError, 1, 500),
        ("of a later version", RunError, 1, 500),
    ],
)
def test_the_code_of_a_failed_run_is_the_same_everywhere(
    code: str, kind: type[RunError], status: int, http: int
) -> None:
    error = errors.run_error(code)("why", RESULT)

    assert type(error) is kind
    assert errors.exit_status(error) == status
    assert errors.RunFailed(code, "why").status == http


def test_what_is_not_ours_is_a_failure() -> None:
    assert errors.exit_status(ZeroDivisionError()) == 1


def test_a_problem_has_two_forms() -> None:
    problem = errors.BadRequest("not JSON")

    assert problem.as_dict() == {
        "type": "urn:facilitair:bad-request",
        "title": "Bad Request",
        "status": 400,
        "detail": "not JSON",
    }
    assert problem.as_openai() == {
        "message": "not JSON",
        "type": "invalid_request_error",
        "param": None,
        "code": "bad_request",
    }
    assert isinstance(problem, Problem)
