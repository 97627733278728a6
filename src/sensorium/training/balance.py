"""How the losses of the heads become gradients: values that a Trainer holds, chosen by a word of the plan."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import torch
from torch import Tensor, nn

from sensorium.colearning import Standing, blend_weights, pareto_gradient
from sensorium.network import JOINT, Encoded, Network, key
from sensorium.training.losses import Named, told, total
from sensorium.training.plan import Plan
from sensorium.types import InputError

LEAST = 0.1  # share of a blended weight that no estimate takes away: late fusion needs every head

SURE = 2.0  # standard errors by which a head must beat a constant answer to count as knowing something
KNOWS = 0.03  # of that answer's loss instead, where rows are too few to tell the error
MORE = 0.01  # share of what a head knows by which it must know more to count as still gaining
STALE = 3  # validations without that

Figures = Mapping[str, float]  # head, as `told` names it -> mean loss
NOTHING: Figures = MappingProxyType({})


class Balance(ABC):
    """What the modalities' own heads see, and what the encoders get of each loss. Immutable."""

    def heard(self, encoded: Mapping[str, Encoded]) -> Mapping[str, Encoded]:
        """What the own heads see; by default what the encoders made, so that their losses train the encoders."""
        return encoded

    @abstractmethod
    def backward(self, found: Mapping[Named, Tensor], network: Network, plan: Plan) -> None:
        """Add the gradients of the heads' losses to the network's parameters."""

    def checked(
        self, valid: Figures, blank: Figures, train: Callable[[], Figures], noise: Figures = NOTHING
    ) -> "Balance":
        """Return the balance to go on with after a validation.

        valid: losses of the heads on held-out rows; blank: those of the best constant answer, which knows no input;
        `train` measures the heads on training rows; noise: standard errors of blank - valid, where they are known.
        """
        return self

    def glanced(self, valid: Figures, blank: Figures, noise: Figures) -> "Balance":
        """Return the balance to go on with after an early look at held-out rows; by default nothing follows."""
        return self

    def unchecked(self) -> "Balance":
        """Return the balance for a training in which nothing will be validated."""
        return self

    def state(self) -> dict[str, dict[str, float]]:
        """What a checkpoint must hold, as JSON."""
        return {}

    def restored(self, state: Mapping[str, Figures]) -> "Balance":
        """Return the balance as it was at a checkpoint."""
        return self


@dataclass(frozen=True, kw_only=True, slots=True)
class Uniform(Balance):
    """The sum of the joint loss and of every modality's own."""

    def backward(self, found: Mapping[Named, Tensor], network: Network, plan: Plan) -> None:
        """Send the gradient of the plain sum."""
        total(found, plan).backward()


@dataclass(frozen=True, kw_only=True, slots=True)
class Guarded(Uniform):
    """The plain sum, but an own loss trains its encoder only while that helps its head on held-out rows.

    A head whose modality tells nothing by itself (one side of an exclusive or) can only make its encoder learn rows by
    heart. It does so faster than the joint head, which reads the same encoder, finds what both together tell, and then
    that is never found; a tenth of its gradient is enough to prevent it. A head that has learned all its modality tells does
    the same, and one that is left open from the start drowns what only both tell beside what either tells.

    So the joint head goes first, and a head is open while it beats a constant answer on held-out rows by more than chance,
    and has gained there by MORE within the last STALE validations. Else it reads what the joint loss makes of its
    encoder. That no modality is forgotten meanwhile is the work of the random subsets, in which the joint head has to
    do with it alone. Without a validation, and without a joint head, own losses are never held back.
    """

    columns: tuple[str, ...] = ()  # targets; what an encoder gets is decided by the best of its heads
    open: tuple[str, ...] = ()  # heads that knew something when they were checked last, and still gained
    gained: Figures = field(default_factory=dict)  # most that a head has gained over a constant answer
    stale: Figures = field(default_factory=dict)  # validations since then

    def heard(self, encoded: Mapping[str, Encoded]) -> Mapping[str, Encoded]:
        """Cut off the encoders of modalities none of whose heads is open."""
        return {n: e if self._knows(n) else replace(e, vector=e.vector.detach()) for n, e in encoded.items()}

    def _knows(self, name: str) -> bool:
        return any(told((column, name)) in self.open for column in self.columns)

    def checked(
        self, valid: Figures, blank: Figures, train: Callable[[], Figures], noise: Figures = NOTHING
    ) -> Balance:
        """Open those heads that know something and still gain."""
        gain = {k: blank[k] - v for k, v in valid.items() if k in blank}
        most = {k: self.gained.get(k, 0.0) for k in gain}
        better = {k for k, v in gain.items() if v > (1 + MORE) * most[k]}
        stale = {k: 0.0 if k in better else self.stale.get(k, 0.0) + 1 for k in gain}
        seen = replace(self, gained=most | {k: gain[k] for k in better}, stale=stale)
        return seen.glanced(valid, blank, noise)

    def glanced(self, valid: Figures, blank: Figures, noise: Figures) -> Balance:
        """The same at an early look: what is learned at once is not held back until the first validation."""
        least = {k: SURE * noise[k] if k in noise else KNOWS * b for k, b in blank.items()}
        knows = [k for k, v in valid.items() if k in blank and blank[k] - v > least[k]]
        return replace(self, open=tuple(k for k in knows if self.stale.get(k, 0.0) < STALE))

    def unchecked(self) -> Balance:
        """Without validations no head could ever show what it knows."""
        return Uniform()

    def state(self) -> dict[str, dict[str, float]]:
        """Which heads are open, and what each has gained."""
        found = {
            "open": dict.fromkeys(self.open, 1.0),
            "gained": dict(self.gained),
            "stale": dict(self.stale),
        }
        return {k: v for k, v in found.items() if v}

    def restored(self, state: Mapping[str, Figures]) -> Balance:
        """Return the balance as it was at a checkpoint."""
        known = {k: dict(state.get(k, {})) for k in ("gained", "stale")}
        return replace(self, open=tuple(state.get("open", ())), **known)


@dataclass(frozen=True, kw_only=True, slots=True)
class JointAlone(Balance):
    """The joint loss alone trains the encoders; own heads only read what they find. A control, not a cure."""

    def heard(self, encoded: Mapping[str, Encoded]) -> Mapping[str, Encoded]:
        """Cut the own heads off the encoders; the trunk sees the tokens, which stay as they are."""
        return {n: replace(e, vector=e.vector.detach()) for n, e in encoded.items()}

    def backward(self, found: Mapping[Named, Tensor], network: Network, plan: Plan) -> None:
        """Send the gradient of the plain sum: nothing of an own loss gets past its head."""
        total(found, plan).backward()


@dataclass(frozen=True, kw_only=True, slots=True)
class Pareto(Balance):
    """MMPareto (arXiv:2405.17730): an encoder's two gradients are merged so that neither loss is harmed.

    Heads and trunk get the plain sum. An encoder without rows in the batch gets nothing, and without a joint head
    (late fusion) there is nothing to merge.
    """

    def backward(self, found: Mapping[Named, Tensor], network: Network, plan: Plan) -> None:
        """Two passes back: the joint losses', then the own ones'; an own loss reaches its own encoder only."""
        joint = {n: v for n, v in found.items() if n[1] == JOINT}
        own = {n: v for n, v in found.items() if n[1] != JOINT}
        if not joint or not own:
            total(found, plan).backward()
            return
        total(joint, plan).backward(retain_graph=True)
        first = {name: taken(network.encoders[key(name)]) for name in network.names}
        total(own, plan).backward()
        for name in network.names:
            merge(network.encoders[key(name)], first[name])


def taken(module: nn.Module) -> list[Tensor | None]:
    """Take the gradients away from a module's parameters, in their order."""
    grads = [p.grad for p in module.parameters()]
    for parameter in module.parameters():
        parameter.grad = None
    return grads


def merge(module: nn.Module, joint: list[Tensor | None]) -> None:
    """Merge the gradients of the joint loss into those of the own loss, which the parameters hold."""
    parameters = list(module.parameters())
    if all(g is None for g in joint) and all(p.grad is None for p in parameters):
        return

    def flat(grads: list[Tensor | None]) -> Tensor:
        both = zip(parameters, grads, strict=True)
        return torch.cat([(torch.zeros_like(p) if g is None else g).reshape(-1) for p, g in both])

    merged = pareto_gradient(flat(joint), flat([p.grad for p in parameters]))
    for parameter, part in zip(parameters, merged.split([p.numel() for p in parameters]), strict=True):
        parameter.grad = part.view_as(parameter).clone()


@dataclass(frozen=True, kw_only=True, slots=True)
class Blend(Balance):
    """Gradient blending (arXiv:1905.12681), online: heads that generalise weigh more, those that overfit less.

    Uniform until two validations were seen, and all the way where there are no validation rows. Where no head improves,
    the weight is the joint heads' (`hopeful`).
    """

    weights: Figures = field(default_factory=dict)  # a head without a weight has 1
    train: Figures = field(default_factory=dict)  # losses at the last validation
    valid: Figures = field(default_factory=dict)

    def backward(self, found: Mapping[Named, Tensor], network: Network, plan: Plan) -> None:
        """Send the gradient of the weighted sum."""
        total({n: v * self.weights.get(told(n), 1.0) for n, v in found.items()}, plan).backward()

    def checked(
        self, valid: Figures, blank: Figures, train: Callable[[], Figures], noise: Figures = NOTHING
    ) -> Balance:
        """Weigh the heads anew by how both losses moved since the last validation."""
        now = Standing(train=train(), valid=valid)
        if not self.valid:
            return Blend(weights=dict.fromkeys(valid, 1.0), train=now.train, valid=valid)
        before = Standing(train=self.train, valid=self.valid)
        weights = blend_weights(before, now, hopeful(valid, self.weights), least=LEAST)
        return Blend(weights=weights, train=now.train, valid=valid)

    def state(self) -> dict[str, dict[str, float]]:
        """Weights and the losses that the next ones are estimated from."""
        return {"weights": dict(self.weights), "train": dict(self.train), "valid": dict(self.valid)}

    def restored(self, state: Mapping[str, Figures]) -> Balance:
        """Return the balance as it was at a checkpoint."""
        return Blend(**state) if state else self


def hopeful(heads: Figures, last: Figures) -> dict[str, float]:
    """Weights where no head improves on held-out rows: the joint heads', all but LEAST of each own one.

    What only several modalities tell together (an exclusive or) no own head can ever learn, and its gradient is mere noise
    that drowns the joint one. They sum to the number of heads. Without joint heads the last weights stay.
    """
    joint = [n for n in heads if n.endswith("/joint")]
    if not joint:
        return dict(last)
    own = len(heads) - len(joint)
    return {n: (len(heads) - LEAST * own) / len(joint) if n in joint else LEAST for n in heads}


BALANCES: Mapping[str, Balance] = {
    "guarded": Guarded(),
    "uniform": Uniform(),
    "joint": JointAlone(),
    "pareto": Pareto(),
    "blend": Blend(),
}


def balance_of(word: str, network: Network) -> Balance:
    """Return the balance that a word of BALANCES names. Raises InputError where the network cannot be trained so."""
    if word not in BALANCES:
        raise InputError("no such balance", got=word, fix=f"use {', '.join(BALANCES)}")
    if word == "joint" and network.fusion == "late":
        raise InputError(
            "late fusion has no joint head that could train the encoders alone",
            got="balance joint, fusion late",
            fix="use another fusion, or another balance",
        )
    if word == "guarded":  # without a joint head, or with one modality, there is nothing to guard
        alone = network.fusion == "late" or len(network.names) == 1 or not network.columns
        return Uniform() if alone else Guarded(columns=tuple(network.columns))
    return BALANCES[word]
