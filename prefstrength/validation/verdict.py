"""Words for what the explanations of the same answers say together: the verdict, and what next."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

__all__ = ["SURE", "VERDICTS", "Beliefs", "advice", "label", "sentence"]

#: Probability that a verdict, and the naming of a part, asks for.
SURE = 0.95
#: Probability from which a part is allowed for, and below which it is out of the question.
ALLOWED, OUT = 0.8, 0.05
#: Short verdicts.
VERDICTS = ("heterogeneous", "differ in kind", "differ", "homogeneous", "the data cannot tell")
# Answers of one chooser from which repetition speaks, and enough of them.
_FEW, _ENOUGH = 4, 8
# Choosers below which a share of 5 % is no more than a few of them.
_MANY = 100

Interval = tuple[float, float, float]


@dataclass(frozen=True)
class Beliefs:
    """What is believed, averaged over all explanations.

    Parameters
    ----------
    differ : float
        Probability that sd/mean of strength is above .25, or that a class is at zero or reversed.
    same : float
        Probability that sd/mean is below .25, and fewer than 5 % in either class.
    spread : float
        Probability that sd/mean is above .25.
    on : mapping of str to float
        Probability of every part; ``"bend"`` is either bend.
    straight : float
        Weight of one strength with a straight utility and no random answers.
    values : mapping of str to tuple
        Mean and interval of ``"cv"`` and of the parts' parameters where they are on.
    largest : tuple
        The two largest explanations with their weights.
    single : bool
        Whether every answer stands alone.
    choosers : int
    answers : float
        Median number of answers of a chooser.
    error : float
        Sd of the error of a difference that was given.
    prob : float
        Probability of the intervals.
    """

    differ: float
    same: float
    spread: float
    on: Mapping[str, float]
    straight: float
    values: Mapping[str, Interval]
    largest: tuple[tuple[str, float], ...]
    single: bool
    choosers: int
    answers: float
    error: float
    prob: float

    def to_dict(self) -> dict[str, Any]:
        """Return the same in JSON types."""
        return asdict(self)

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Self:
        """What :meth:`to_dict` gave."""
        values = {name: tuple(map(float, each)) for name, each in record["values"].items()}
        largest = tuple((str(name), float(weight)) for name, weight in record["largest"])
        return cls(**{**record, "values": values, "largest": largest})


def label(beliefs: Beliefs) -> str:
    """The verdict in one of :data:`VERDICTS`."""
    if not beliefs.single and beliefs.differ >= SURE:
        if beliefs.spread >= SURE:
            return VERDICTS[0]
        named = max(beliefs.on["zero"], beliefs.on["reversed"]) >= SURE
        return VERDICTS[1] if named else VERDICTS[2]
    if not beliefs.single and beliefs.same >= SURE:
        return VERDICTS[3]
    return VERDICTS[4]


def sentence(beliefs: Beliefs) -> str:
    """The verdict in words, in one or two sentences."""
    short = label(beliefs)
    if beliefs.single:
        return _of_single(beliefs)
    if short == "heterogeneous":
        cv = _number(beliefs.values["cv"])
        text = f"Heterogeneous: choosers weigh the reward differently (sd/mean {cv})"
        return f"{'; '.join([text, *_classes(beliefs)])}.{_shared(beliefs)}"
    if short == "differ in kind":
        others = (
            "the others do not differ measurably"
            if beliefs.spread <= OUT
            else "whether the others differ cannot be told"
        )
        kinds = "; ".join(_classes(beliefs))
        return f"Choosers differ in kind: {kinds}; {others}.{_shared(beliefs)}"
    if short == "differ":
        ways = [
            (f"spread ({_p(beliefs.spread)})", beliefs.spread),
            (f"some at or near zero ({_p(beliefs.on['zero'])})", beliefs.on["zero"]),
            (f"some reversed ({_p(beliefs.on['reversed'])})", beliefs.on["reversed"]),
        ]
        told = [text for text, p in sorted(ways, key=lambda way: -way[1]) if p > OUT]
        return f"Choosers differ; the data do not say how: {_listed(told)}.{_shared(beliefs)}"
    if short == "homogeneous":
        if beliefs.on["zero"] >= ALLOWED:
            return (
                f"Hardly anybody weighs this reward: {_percent(beliefs.values['zero'])} answer at "
                "random or hardly weigh it."
            )
        unless = "" if beliefs.error else ", if the rewards have little error"
        return (
            "One strength describes all: sd/mean below .25, fewer than 5 % at zero, fewer than "
            f"5 % reversed (probability {_p(beliefs.same)}){unless}.{_shared(beliefs)}"
        )
    first, second = beliefs.largest[:2]
    return (
        f"Cannot tell: that choosers differ has probability {_p(beliefs.differ)}. The largest "
        f"explanations are {first[0]} ({_p(first[1])}) and {second[0]} ({_p(second[1])})."
    )


def advice(beliefs: Beliefs) -> str:
    """What would settle it, or what the verdict rests on; empty where nothing is open."""
    if beliefs.single:
        return (
            "Repeated choices of the same people tell these apart, more people do not: four to "
            "eight answers of each of 250 people or more."
        )
    short = label(beliefs)
    if short in ("heterogeneous", "differ in kind"):
        return ""
    if short == "homogeneous":
        if beliefs.error:
            return ""
        return (
            "Error in the rewards hides spread: score the pairs twice, and give the error that "
            "measurement_error finds."
        )
    if beliefs.answers < _FEW:
        return (
            f"{beliefs.answers:g} answers of a chooser say next to nothing about how choosers "
            "differ: ask the same people for four to eight each, rather than more people."
        )
    if beliefs.choosers < _MANY:
        return (
            f"With {beliefs.choosers} choosers 5 % are {0.05 * beliefs.choosers:.0f}: ask "
            "250 or more, four to eight answers each."
        )
    if beliefs.answers < _ENOUGH:
        return "Ask the same people again, up to eight answers each; then twice as many people."
    return "Ask twice as many people, as often as these."


def _of_single(beliefs: Beliefs) -> str:
    start = "Cannot tell from single choices. The choice curve is"
    if beliefs.straight >= OUT:
        return f"{start} straight: one strength is enough (weight {_p(beliefs.straight)})."
    ways = {
        "a reward that saturates": beliefs.on["capped"],
        "a power of the reward": beliefs.on["power"],
        "spread of strength": beliefs.on["spread"],
        "random answers": beliefs.on["lapse"],
    }
    told = [f"{way} ({_p(p)})" for way, p in sorted(ways.items(), key=lambda w: -w[1]) if p > OUT]
    return f"{start} bent, as by {_listed(told)}."


def _classes(beliefs: Beliefs) -> list[str]:
    """Classes that are sure to be there, with their shares."""
    told = []
    if beliefs.on["zero"] >= SURE:
        share = _percent(beliefs.values["zero"])
        told.append(f"{share} answer at random or hardly weigh this reward")
    if beliefs.on["reversed"] >= SURE:
        of = " of the others" if told else ""
        told.append(f"{_percent(beliefs.values['reversed'])}{of} prefer the lower reward")
    return told


def _shared(beliefs: Beliefs) -> str:
    """What all choosers share beside their strength, in a sentence of its own."""
    bend = "capped" if beliefs.on["capped"] >= beliefs.on["power"] else "power"
    found = []
    if beliefs.on["bend"] >= ALLOWED:
        text = (
            "a reward that saturates"
            if bend == "capped"
            else f"a reward that counts by its power {_number(beliefs.values['power'])}"
        )
        found.append((text, beliefs.on["bend"] >= SURE))
    if beliefs.on["lapse"] >= ALLOWED:
        text = f"{_percent(beliefs.values['lapse'])} of answers at random"
        found.append((text, beliefs.on["lapse"] >= SURE))
    asked = _listed([text for text, sure in found if sure])
    allowed = _listed([text for text, sure in found if not sure])
    if asked and allowed:
        return f" The data ask for {asked}; {allowed} is allowed for."
    if asked:
        return f" The data ask for {asked}."
    return f" This allows for {allowed}." if allowed else ""


def _listed(texts: list[str]) -> str:
    return " and ".join([", ".join(texts[:-1]), texts[-1]] if len(texts) > 1 else texts)


def _p(probability: float) -> str:
    """A probability, never rounded to certainty."""
    if probability > 0.995:
        return "> .99"
    return "< .01" if probability < 0.005 else f"{probability:.2f}"[1:]


def _number(interval: Interval) -> str:
    return f"{interval[0]:.2f} [{interval[1]:.2f}, {interval[2]:.2f}]"


def _percent(interval: Interval) -> str:
    mean, low, high = (100 * each for each in interval)
    return f"{mean:.0f} % [{low:.0f}, {high:.0f}]"
