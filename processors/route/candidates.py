"""Which models may serve a request: those it names or allows, else those of the first rule that matches."""

from processors.route.capable import capable
from schemas.config import Config, Tenant
from schemas.records import ClassifiedRequest, Problem, RequestEvent

# Made once: a model's validation takes longer than the rest of a decision.
_ANYONE = Tenant()  # type: ignore[call-arg]


def candidates_of(record: ClassifiedRequest, config: Config) -> tuple[list[str], str] | Problem:
    """Model ids, best first and at least one, with the reason for the audit trail; or why there are none.

    `model` comes first, then `candidate_models` in the caller's order. Without `model` the caller's list is
    restricted to what the matching rule offers, where the two have a model in common.
    """
    request = record.request
    allowed = _allowed(config, request.tenant)
    wanted = ([request.model] if request.model else []) + request.candidate_models
    named = _resolve(wanted, request, config, allowed)
    if isinstance(named, Problem):
        return named
    if request.model:
        found, why = named, "named by the request"
    else:
        found, why = _by_rule(record, config)
        found = [m for m in found if m in allowed]
        if named:
            found = [m for m in named if m in found] or named
            why += ", restricted by candidate_models"
    if not found:
        return _no_route(record, allowed)
    offering = [m for m in found if record.lane in config.models[m].lanes]
    if not offering:
        return _no_lane(record, found, config)
    able = capable(offering, request, config, allowed)
    return able if isinstance(able, Problem) else (able, why)


def _allowed(config: Config, tenant: str) -> list[str]:
    listed = config.tenants.get(tenant, _ANYONE).models
    if listed is None:
        return list(config.models)
    return [m for name in listed if (m := config.resolve(name)) is not None]


def _resolve(
    wanted: list[str], request: RequestEvent, config: Config, allowed: list[str]
) -> list[str] | Problem:
    found: list[str] = []
    for name in wanted:
        model = config.resolve(name)
        field = "model" if name == request.model else "candidate_models"
        if model is None:
            message = f"no model {name!r}: {_choices(allowed, config)}"
            return Problem(code="unknown_model", message=message, field=field)
        if model not in allowed:
            message = f"tenant {request.tenant!r} may not use {name!r}: {_choices(allowed, config)}"
            return Problem(code="model_not_allowed", message=message, field=field)
        if model not in found:
            found.append(model)
    return found


def _choices(allowed: list[str], config: Config) -> str:
    names = sorted({n for m in allowed for n in (m, *config.models[m].aliases)})
    return "use one of " + ", ".join(names) if names else "the tenant may use no model; ask the operator"


def _by_rule(record: ClassifiedRequest, config: Config) -> tuple[list[str], str]:
    for number, rule in enumerate(config.routes):
        if (
            rule.task_type in (None, record.task_type)
            and rule.tenant in (None, record.request.tenant)
            and rule.lane in (None, record.lane)
        ):
            models = (config.resolve(name) for name in rule.models)
            return list(dict.fromkeys(m for m in models if m is not None)), f"rule {number}"
    return [], "no rule"


def _no_route(record: ClassifiedRequest, allowed: list[str]) -> Problem:
    message = (
        f"no routing rule gives tenant {record.request.tenant!r} a model for task type {record.task_type!r}"
        f" in lane {record.lane!r}: set model to one of {', '.join(sorted(allowed)) or '(none is allowed)'}"
    )
    return Problem(code="no_route", message=message, field="model")


def _no_lane(record: ClassifiedRequest, found: list[str], config: Config) -> Problem:
    offers = "; ".join(f"{m} offers {', '.join(config.models[m].lanes) or 'none'}" for m in found)
    message = f"no candidate offers lane {record.lane!r}: {offers}; set lane to one of these"
    return Problem(code="lane_not_offered", message=message, field="lane")
