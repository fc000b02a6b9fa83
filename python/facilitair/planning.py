"""From the arguments of a call to a plan: everything that can be wrong is found here, before the first event."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from .config import find_role
from .engine.graph import AgentSpec, Strategy
from .engine.influence import ConcernedPolicy
from .engine.plan import Plan, PlannedAgent
from .engine.strategies import resolve_strategy
from .errors import UsageError
from .options import Models, RunOptions, check_names
from .providers.catalog import SIMULATOR, is_simulated
from .roles import Role, built_in_roles

if TYPE_CHECKING:
    from .config import Config
    from .providers.catalog import Catalog
    from .providers.model import Model

MAX_TASK_CHARACTERS: Final = 1 << 20
MAX_SECTIONS: Final = 64
MAX_TITLE_CHARACTERS: Final = 200
SIMULATOR_NOTICE: Final = (
    "no key and no local model found: using the built-in simulator; its text is scripted, not written by a model. "
    "Set OPENAI_API_KEY (or another provider's key) or run `facilitair doctor`"
)


class RunRequest(msgspec.Struct, frozen=True):
    """A call whose arguments have been checked; only the models are still to be found."""

    task: str
    config: Config
    strategy: Strategy
    roles: Mapping[str, Role]
    sections: tuple[str, ...] | None

    @property
    def specs(self) -> tuple[AgentSpec, ...]:
        """All agents of the run, the synthesizer last."""
        return self.strategy.specs


def check_request(
    config: Config, task: str, context: Mapping[str, Any] | None, options: RunOptions
) -> RunRequest:
    """Return the request, or raise `UsageError`, `ConfigError` or `GraphError` naming what is wrong with it."""
    check_names(options)
    if not isinstance(options.get("strategy"), str | Strategy | None):
        raise UsageError("strategy: give the name of a strategy, or a graph.")
    models = _checked_models(options.get("models"))
    config = config.with_overrides(_checked_context(context), **options)
    graph = resolve_strategy(options.get("strategy"), config)
    roles = {spec.role: find_role(spec.role, config.roles) for spec in graph.specs}
    if isinstance(models, Mapping):
        _check_roles(models, {*roles, *built_in_roles(), *config.roles})
    return RunRequest(
        task=_checked_task(task),
        config=config,
        strategy=graph,
        roles=roles,
        sections=_checked_sections(options.get("sections")),
    )


def make_plan(request: RunRequest, catalog: Catalog) -> Plan:
    """Return the plan of a checked request with the models that `catalog` has for its roles."""
    config = request.config
    agents = {
        spec.name: PlannedAgent(spec, request.roles[spec.role], _models(spec, catalog))
        for spec in request.specs
    }
    return Plan(
        nonce=os.urandom(5).hex(),
        task=request.task,
        context=config.context,
        strategy=request.strategy,
        agents=agents,
        sections=request.sections,
        limits=config.limits,
        policy=ConcernedPolicy(max_interrupts=config.limits.max_interrupts),
        notices=(*catalog.notices, *_stand_in(catalog, agents.values())),
    )


def _models(spec: AgentSpec, catalog: Catalog) -> tuple[Model, ...]:
    named = spec.model if spec.model and (is_simulated(spec.model) or not catalog.config.simulate) else None
    return (catalog.resolve(named),) if named else catalog.for_role(spec.role)


def _stand_in(catalog: Catalog, agents: Iterable[PlannedAgent]) -> Iterator[str]:
    """Say so where the simulator takes the place of models that nobody has."""
    simulated = any(agent.models[0].simulated for agent in agents)
    if (
        simulated
        and catalog.primary == SIMULATOR
        and not catalog.config.simulate
        and not catalog.config.provider
    ):
        yield SIMULATOR_NOTICE


def check_priced(plan: Plan) -> None:
    """Raise `UsageError` when a cost limit was asked for that cannot be kept, because a price is unknown."""
    if plan.limits.max_cost is None:
        return
    unknown = sorted({m.id for a in plan.agents.values() for m in a.models if m.price is None})
    if unknown:
        raise UsageError(
            f"a cost limit cannot be kept: the price of {', '.join(unknown)} is unknown. Give it in "
            f'[pricing."{unknown[0]}"] of facilitair.toml, or limit tokens instead.'
        )


def _checked_task(task: str) -> str:
    if not isinstance(task, str):
        raise UsageError(f"the task must be text, not {type(task).__name__}.")
    _check_encodable("the task", task)
    if not task.strip():
        raise UsageError("the task is empty; say what shall be done.")
    if len(task) > MAX_TASK_CHARACTERS:
        raise UsageError(f"the task has {len(task):,} characters; at most {MAX_TASK_CHARACTERS:,} are taken.")
    if "\0" in task:
        raise UsageError("the task holds NUL characters, so it is not text; pass text.")
    return task.strip()


def _checked_context(context: Mapping[str, Any] | None) -> dict[str, Any]:
    if context is None:
        return {}
    try:
        return msgspec.json.decode(msgspec.json.encode(context), type=dict[str, Any])
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(
            f"the context must be a mapping with text keys that JSON can hold: {error}"
        ) from None


def _checked_models(models: Models | None) -> Models | None:
    try:
        named = msgspec.convert(models, str | dict[str, str | tuple[str, ...]] | None)
    except msgspec.ValidationError:
        raise UsageError('models: give "provider/model", or a mapping from role to that.') from None
    _check_encodable("models: a name", str(named))
    return models


def _checked_sections(sections: Sequence[str] | None) -> tuple[str, ...] | None:
    if sections is None:
        return None
    try:
        titles = tuple(
            " ".join(title.split()) for title in ([sections] if isinstance(sections, str) else sections)
        )
    except (TypeError, AttributeError):
        raise UsageError("sections: give a list of titles.") from None
    if not titles or not all(titles):
        raise UsageError("sections: give at least one title, and no empty one.")
    if len(titles) > MAX_SECTIONS:
        raise UsageError(f"sections: {len(titles)} are too many; at most {MAX_SECTIONS} are taken.")
    for title in titles:
        _check_encodable("sections: a title", title)
        if len(title) > MAX_TITLE_CHARACTERS:
            raise UsageError(
                f"sections: a title has {len(title):,} characters; {MAX_TITLE_CHARACTERS} are taken."
            )
        if titles.count(title) > 1:
            raise UsageError(f"sections: {title!r} is given twice; titles must differ.")
    return titles


def _check_roles(models: Mapping[str, object], known: set[str]) -> None:
    for role in models:
        if role != "*" and role not in known:
            raise UsageError(f"models: unknown role {role!r}; known: {', '.join(sorted(known))}.")


def _check_encodable(what: str, text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UsageError(
            f"{what} holds half a character (a lone surrogate), so it is not text; pass text."
        ) from None
