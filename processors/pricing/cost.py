"""What a call costs, and at most can cost.

The two go together: whatever `cost` may say of a call within its bounds, `worst_case` has reserved. So a rate counts
in both, or in neither.
"""

from collections.abc import Sequence
from decimal import ROUND_HALF_UP, Decimal
from typing import Final, NamedTuple, assert_never

from processors.pricing.forms import Form, PerHour, Period, PerSecond, PerToken, Prices, Steps, TokenRates
from schemas.records import ContentPart, RequestEvent, Usage

_PLACES: Final = Decimal("0.000000001")
# What vendors call the tier that isn't a special one.
STANDARD: Final = frozenset({"default", "standard", "standard_only", "on_demand"})
# Without a word of the caller's a vendor may serve at this tier: its account's settings say so.
_VENDORS_CHOICE: Final = ("priority",)
_SHORT_CACHE: Final = (None, "ephemeral", "ephemeral_5m")


class Asked(NamedTuple):
    """What a request asks for that decides about its price.

    `tier`: the service tier, None where the vendor chooses. `media`: images, audio and the like may be counted.
    `hour_cache`: a cache may keep its input for an hour. `media_output`: the output may be of another kind than text.
    """

    tier: str | None = None
    media: bool = False
    hour_cache: bool = False
    media_output: bool = False


class Cost(NamedTuple):
    """US dollars, nine places; None where there is no price or a count that matters is unknown.

    `basis`: how it was charged; `version`: the price that held. Both are None with the cost.
    """

    dollars: Decimal | None
    basis: str | None
    version: str | None


NO_COST: Final = Cost(None, None, None)


def asked_of(request: RequestEvent) -> Asked:
    """What a request asks for that decides about its price."""
    media = hour_cache = False
    for part in request.content:
        media, hour_cache = media or _is_medium(part), hour_cache or part.cache not in _SHORT_CACHE
    for message in request.messages:
        for part in message.content:
            media, hour_cache = media or _is_medium(part), hour_cache or part.cache not in _SHORT_CACHE
    extra = bool(request.parameters and request.parameters.extra)
    return Asked(tier_of(request), media or extra, hour_cache or extra, media or extra)


def tier_of(request: RequestEvent) -> str | None:
    """The service tier that a request asks for, or the speed, which is charged like one."""
    told = request.parameters
    if told is None:
        return None
    speed = told.extra.get("speed") if told.extra else None
    tier = speed.strip('" ') if speed else told.service_tier
    return None if tier in (None, "", "auto") else tier


def _is_medium(part: ContentPart) -> bool:
    return part.data is not None or part.uri is not None


def cost_of(
    usage: Usage | None, prices: Prices | None, *, at_ms: int, seconds: float = 0, tier: str | None = None
) -> Cost:
    """What a call cost that began at `at_ms` (milliseconds since the epoch) and took `seconds`.

    `tier`: the service tier that was asked for; the one that the vendor tells in the usage goes before it.
    """
    period = prices.at(at_ms) if prices is not None and usage is not None else None
    if period is None or usage is None:
        return NO_COST
    form, version = period.form, period.version
    match form:
        case PerToken():
            name, steps = _served(form, tier, usage.service_tier)
            dollars = _by_token(usage, steps, form.request) if steps is not None else None
            version += f" {name}" if name else ""
        case PerSecond():
            dollars = form.second * Decimal(round(seconds * 1000)).scaleb(-3)
        case PerHour():
            dollars = _by_hour(usage, form)
        case _:
            assert_never(form)
    return NO_COST if dollars is None else Cost(_rounded(dollars), form.basis, version)


def worst_case(
    places: Sequence[Prices | None],
    input_tokens: int,
    output_tokens: int,
    *,
    asked: Asked,
    seconds: float,
    from_ms: int,
    until_ms: int,
) -> Decimal | None:
    """The most a call can cost, US dollars: at the dearest of its places, at any time when it may begin.

    `input_tokens`, `output_tokens` and `seconds` bound it. None where one of the places has no price for it.
    """
    most = Decimal(0)
    for prices in places:
        periods = prices.between(from_ms, until_ms) if prices is not None else None
        if periods is None:
            return None
        for period in periods:
            dollars = _most(period, input_tokens, output_tokens, asked, seconds)
            if dollars is None:
                return None
            most = max(most, dollars)
    return _rounded(most) if places else None


def _most(
    period: Period, input_tokens: int, output_tokens: int, asked: Asked, seconds: float
) -> Decimal | None:
    form: Form = period.form
    match form:
        case PerToken():
            reach = reachable(form, asked.tier)
            if reach is None:
                return None
            each = [rates for steps in reach.values() for rates in steps.up_to(input_tokens)]
            most_in = max(_dearest_input(rates, asked) for rates in each)
            most_out = max(_dearest_output(rates, asked) for rates in each)
            return form.request + input_tokens * most_in + output_tokens * most_out
        case PerSecond():
            return form.second * Decimal(round(seconds * 1000)).scaleb(-3)
        case PerHour():
            return form.call + (input_tokens + output_tokens) * form.token
        case _:
            assert_never(form)


def _dearest_input(rates: TokenRates, asked: Asked) -> Decimal:
    dearest = max(rates.input, rates.cache_read, rates.cache_write)
    if asked.hour_cache:
        dearest = max(dearest, rates.cache_write_1h)
    return max(dearest, rates.image_input, rates.audio_input) if asked.media else dearest


def _dearest_output(rates: TokenRates, asked: Asked) -> Decimal:
    dearest = max(rates.output, rates.reasoning)
    return max(dearest, rates.audio_output) if asked.media_output else dearest


def reachable(form: PerToken, tier: str | None) -> dict[str | None, Steps] | None:
    """The tiers at which a vendor may serve who is asked for `tier` (None: for none); None where it has no price."""
    if tier is None:
        found: dict[str | None, Steps] = {None: form.standard}
        found.update((name, form.tiers[name]) for name in _VENDORS_CHOICE if name in form.tiers)
        return found
    if tier in form.tiers:
        return {None: form.standard, tier: form.tiers[tier]}
    return {None: form.standard} if tier in STANDARD else None


def _served(form: PerToken, asked: str | None, told: str | None) -> tuple[str | None, Steps | None]:
    """The tier at which a call was served, by what was asked for and what the vendor told, with its rates."""
    reach = reachable(form, asked)
    if reach is None:
        return None, None
    if told is not None and told in reach:
        return told, reach[told]
    name = asked if asked in reach and (told is None or told not in STANDARD) else None
    return name, reach[name]


def _by_token(usage: Usage, steps: Steps, request: Decimal) -> Decimal | None:
    plain, output = usage.input_uncached, usage.output
    if plain is None or output is None:
        return None
    read, write = usage.cache_read or 0, usage.cache_write or 0
    rates = steps.of(plain + read + write)
    audio = min(usage.audio_input or 0, plain)
    image = min(usage.image_input or 0, plain - audio)
    hour = min(usage.cache_write_1h or 0, write)
    spoken = min(usage.audio_output or 0, output)
    thought = min(usage.reasoning or 0, output - spoken)
    total = request + (plain - audio - image) * rates.input + (output - spoken - thought) * rates.output
    for count, rate in (
        (read, rates.cache_read),
        (write - hour, rates.cache_write),
        (hour, rates.cache_write_1h),
        (audio, rates.audio_input),
        (image, rates.image_input),
        (spoken, rates.audio_output),
        (thought, rates.reasoning),
    ):
        if count:
            total += count * rate
    return total


def _by_hour(usage: Usage, form: PerHour) -> Decimal | None:
    if not form.token:
        return form.call
    if usage.input_uncached is None or usage.output is None:
        return None
    tokens = usage.input_uncached + (usage.cache_read or 0) + (usage.cache_write or 0) + usage.output
    return form.call + tokens * form.token


def _rounded(dollars: Decimal) -> Decimal:
    return dollars.quantize(_PLACES, ROUND_HALF_UP)
