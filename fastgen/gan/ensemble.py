"""Several generators of one architecture that share as many layers as they are told to."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .. import _random, _validate
from .private import NORMS, PrivateLayer, layers

_STATISTICS = ("mixed", "member")


class Ensemble(nn.Module):
    r"""K generators of one architecture, computed together, whose layers are private or shared.

    One knob spans a family: with no private layer it is a single generator; with a private bias of
    the first layer, a conditional generator on one-hot labels; with a private weight and bias
    there, it contains every generator on a mixture of Gaussian latents; with all layers private it
    is a mixture of independent generators.

    Parameters
    ----------
    factory : callable
        Returns a fresh generator, an nn.Module that maps latents (B, ...), and labels (B,) if it
        is conditional, to samples (B, ...).
    n_members : int
        Number K of members.
    private_layers : int, sequence of str or "all", default "all"
        The first so many layers are private, in the order in which the network names them; a layer
        is a module that owns tensors, batch norm included. Or names of layers or parameters, such
        as ``["layers.0.bias"]``.
    statistics : {"mixed", "member"}, default "mixed"
        Over whose samples a shared batch norm takes its statistics: those of all members, or each
        member's own. A private batch norm always takes each member's own. Beware of "member" after
        a private bias: the subtraction of the member's mean cancels it.
    weights : sequence of float or "learned", optional
        Probabilities of the members; equal if not given. "learned" makes their logits a parameter.
    seeds : sequence of int, optional
        One for each member: member k starts as ``factory()`` does after
        ``torch.manual_seed(seeds[k])``. Shared layers are those of member 0.
    random_state : int, Generator or None
        Whence seeds come that are not given.

    Attributes
    ----------
    n_members : int
    weighted : bool
        Whether weights may be unequal.
    latent_dim, image_shape, n_classes
        Those of the generators, where they have them.
    seeds : list of int

    Raises
    ------
    TypeError, ValueError
        If the factory returns no module, or an argument is out of its range; names that match no
        parameter are refused with the nearest one.

    Notes
    -----
    The constraint that ties the members together is read as the number of parameters in which they
    differ: our reading of Luzi, Balestriero and Baraniuk, "Ensembles of Generative Adversarial
    Networks for Disconnected Data", arXiv:2006.14600, not their text.

    Shared layers see one batch of all members' samples. Private linear layers run as one batched
    matrix product, private convolutions as one grouped convolution; other private layers through
    ``torch.func.vmap``, or, where they have buffers or are the user's own, one member after the
    other. Layers must keep the batch in the first axis, and buffers must be changed in place.

    The optimizers of torch work element by element on stacked parameters, so that each member has
    its own state.

    Examples
    --------
    >>> import torch
    >>> from fastgen.gan import Ensemble
    >>> from fastgen.networks import MLPGenerator
    >>> ensemble = Ensemble(lambda: MLPGenerator(8, 2), 10, private_layers=1, random_state=0)
    >>> sum(p.numel() for p in ensemble.parameters()) - 9 * (8 * 128 + 128)
    17922
    >>> sum(p.numel() for p in ensemble.member(0).parameters())
    17922
    >>> small = Ensemble(lambda: torch.nn.Linear(2, 3), 4, random_state=0)
    >>> small(torch.randn(8, 2)).shape, small.each(torch.randn(5, 2)).shape
    (torch.Size([8, 3]), torch.Size([4, 5, 3]))
    """

    def __init__(
        self,
        factory: Callable[[], nn.Module],
        n_members: int,
        private_layers: int | Sequence[str] | str = "all",
        *,
        statistics: str = "mixed",
        weights: Sequence[float] | str | None = None,
        seeds: Sequence[int] | None = None,
        random_state: Any = None,
    ) -> None:
        super().__init__()
        self.n_members = _validate.integer(n_members, "n_members")
        self.statistics = _validate.one_of(statistics, "statistics", _STATISTICS)
        self.seeds = _seeds(seeds, self.n_members, random_state)
        made = [seeded(factory, seed) for seed in self.seeds]
        first = made[0]
        for name in ("latent_dim", "image_shape", "n_classes"):
            setattr(self, name, getattr(first, name, None))
        # a list keeps it from being registered: it is a form to be filled, not a part
        self._form = [copy.deepcopy(first)]
        private = _private_names(first, private_layers)
        self.private_parameters = [n for n, _ in first.named_parameters() if n in private]
        self._entries = {name: (name, False) for name in first.state_dict()}
        self.body = first
        for path, layer in list(layers(first)):
            self._make_private(path, layer, private, made)
        self._set_weights(weights)

    def _make_private(
        self, path: str, layer: nn.Module, private: set[str], made: list[nn.Module]
    ) -> None:
        """Replace a layer by one for all members if anything in it is private."""
        dot = f"{path}." if path else ""
        names = {name for name, _ in layer.named_parameters()}
        own = {name for name in names if f"{dot}{name}" in private}
        norm = isinstance(layer, NORMS)
        if norm:
            whole = all(f"{dot}{name}" in private for name in layer.state_dict())
            alone = self.statistics == "member" or whole
        else:
            alone = bool(own)
        if not own and not (norm and alone):
            return
        replaced = PrivateLayer([m.get_submodule(path) for m in made], own, alone)
        buffers = {name for name, _ in layer.named_buffers()} if alone else set()
        for name in layer.state_dict():
            stacked = name in own or name in buffers
            self._entries[dot + name] = (f"{dot}layer.{name}", stacked)
        if not path:
            self.body = replaced
            return
        parent, _, last = path.rpartition(".")
        setattr(self.body.get_submodule(parent), last, replaced)

    def _set_weights(self, weights: Sequence[float] | str | None) -> None:
        self.weighted = weights is not None
        if isinstance(weights, str):
            _validate.one_of(weights, "weights", ("learned",))
            self.logits = nn.Parameter(torch.zeros(self.n_members))
            return
        given = [1.0] * self.n_members if weights is None else list(weights)
        if len(given) != self.n_members or not all(
            _validate.number(weight, "weights") > 0 for weight in given
        ):
            raise ValueError(
                f"weights must be {self.n_members} positive numbers, one for each member, got "
                f"{given}; leave members of weight 0 out"
            )
        self.register_buffer("logits", torch.tensor(given, dtype=torch.float64).log())

    @property
    def weights(self) -> Tensor:
        """Probabilities (K,) of the members."""
        return self.logits.softmax(0)

    def forward(self, z: Tensor, y: Tensor | None = None, member: Tensor | None = None) -> Tensor:
        """Return samples (B, ...) of latents (B, ...).

        Parameters
        ----------
        z : Tensor (B, ...)
        y : Tensor (B,), optional
            Labels of conditional generators.
        member : Tensor of int (B,), optional
            Which member makes each sample. If not given, the first B / K samples are of member 0,
            and so on.

        Returns
        -------
        Tensor (B, ...)

        Raises
        ------
        ValueError
            If B is no multiple of K, or, in training mode, members have unequal shares: batch norm
            would see samples that nobody asked for.
        """
        if member is not None:
            return self._chosen(z, y, member)
        if len(z) % self.n_members:
            raise ValueError(
                f"z must have a multiple of {self.n_members} rows, as many for every member, got "
                f"{len(z)}; or pass member="
            )
        return self.body(z) if y is None else self.body(z, y)

    def _chosen(self, z: Tensor, y: Tensor | None, member: Tensor) -> Tensor:
        counts = torch.bincount(member, minlength=self.n_members)
        if len(counts) > self.n_members or len(member) != len(z):
            raise ValueError(
                f"member must be {len(z)} numbers from 0 to {self.n_members - 1}, one for each row "
                f"of z, got {len(member)} up to {int(member.max())}"
            )
        most = int(counts.max())
        if self.training and int(counts.min()) != most:
            raise ValueError(
                f"member must name every member equally often in training mode, got the counts "
                f"{counts.tolist()}; call .eval() first"
            )
        order = member.argsort(stable=True)
        starts = counts.cumsum(0) - counts
        inside = torch.arange(len(z), device=z.device) - starts[member[order]]
        place = torch.empty_like(order)
        place[order] = member[order] * most + inside
        rows = torch.zeros(self.n_members * most, dtype=order.dtype, device=z.device)
        rows[place] = torch.arange(len(z), device=z.device)
        return self(z[rows], None if y is None else y[rows])[place]

    def each(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """Return samples of every member.

        Parameters
        ----------
        z : Tensor (K, B, k) or (B, k)
            Latents of each member, or the same ones for all.
        y : Tensor (K, B) or (B,), optional
            Labels of conditional generators, with the leading axes of ``z``.

        Returns
        -------
        Tensor (K, B, ...)

        Raises
        ------
        ValueError
            If ``z`` is of another shape.
        """
        if z.ndim == 2:
            z = z.expand(self.n_members, *z.shape)
            y = None if y is None else y.expand(self.n_members, *y.shape)
        if len(z) != self.n_members:
            raise ValueError(
                f"z must be latents (B, k) or ({self.n_members}, B, k), got {tuple(z.shape)}"
            )
        out = self(z.flatten(0, 1), None if y is None else y.flatten(0, 1))
        return out.unflatten(0, z.shape[:2])

    @torch.no_grad()
    def sample(
        self, n_samples: int, *, labels: Tensor | None = None, seed: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """Draw samples of the mixture from normal latents, in evaluation mode.

        Parameters
        ----------
        n_samples : int
        labels : Tensor (n_samples,), optional
            For conditional generators.
        seed : int, optional
            Repeats a draw; the global random state of torch otherwise.

        Returns
        -------
        samples : Tensor (n_samples, ...)
        member : Tensor (n_samples,)
            Which member made each.
        """
        n_samples = _validate.integer(n_samples, "n_samples")
        logits = self.logits
        source = None if seed is None else torch.Generator(logits.device).manual_seed(seed)
        example = next(self.body.parameters())
        options: dict[str, Any] = {"device": logits.device, "generator": source}
        member = torch.multinomial(self.weights, n_samples, replacement=True, generator=source)
        z = torch.randn((n_samples, self._latent_size()), dtype=example.dtype, **options)
        training = self.training
        try:
            return self.eval()(z, labels, member), member
        finally:
            self.train(training)

    def _latent_size(self) -> int:
        if isinstance(self.latent_dim, int):
            return self.latent_dim
        first = next((m for m in self._form[0].modules() if isinstance(m, nn.Linear)), None)
        if first is None:
            raise ValueError(
                "latent_dim must be an attribute of the generators to draw from them; set it in "
                "their constructor"
            )
        return first.in_features

    def member(self, k: int) -> nn.Module:
        """Return member k as a plain module with tensors of its own.

        Parameters
        ----------
        k : int
            Number of the member, from 0.

        Returns
        -------
        nn.Module

        Raises
        ------
        ValueError
            If there is no such member.
        """
        k = self._index(k)
        state = self.body.state_dict()
        found = {
            name: (state[key][k] if stacked else state[key]).clone()
            for name, (key, stacked) in self._entries.items()
        }
        module = copy.deepcopy(self._form[0])
        module.load_state_dict(found, assign=True)
        return module.train(self.training)

    def members(self) -> list[nn.Module]:
        """Return all members as plain modules: a mixture for the search of nearest points."""
        return [self.member(k) for k in range(self.n_members)]

    @torch.no_grad()
    def put(self, k: int, module: nn.Module) -> None:
        """Give member k the tensors of a module.

        Parameters
        ----------
        k : int
            Number of the member, from 0.
        module : nn.Module
            A module of the members' kind.

        Raises
        ------
        ValueError
            If the module has other names or shapes, or tensors that the members share differ: that
            would change the other members too. Nothing is changed then.
        """
        k = self._index(k)
        given, state = module.state_dict(), self.body.state_dict()
        if set(given) != set(self._entries):
            raise ValueError(
                f"module must have the tensors of a member, got {sorted(given)}; expected "
                f"{sorted(self._entries)}"
            )
        targets = {
            name: state[key][k] if stacked else state[key]
            for name, (key, stacked) in self._entries.items()
        }
        for name, (_, stacked) in self._entries.items():
            if given[name].shape != targets[name].shape:
                raise ValueError(
                    f"module must have {name} of shape {tuple(targets[name].shape)}, got "
                    f"{tuple(given[name].shape)}"
                )
            if not stacked and not torch.equal(given[name].to(targets[name]), targets[name]):
                raise ValueError(
                    f"module must have the {name} that all members share; change it in the "
                    "ensemble, or make it private"
                )
        for name, target in targets.items():
            target.copy_(given[name])

    def _index(self, k: int) -> int:
        k = _validate.integer(k, "k", minimum=0)
        if k >= self.n_members:
            raise ValueError(f"k must be below {self.n_members}, the number of members, got {k}")
        return k

    def extra_repr(self) -> str:
        """Return what is private, for the text of the network."""
        return f"n_members={self.n_members}, private: {', '.join(self.private_parameters) or '-'}"


def seeded(factory: Callable[[], nn.Module], seed: int) -> nn.Module:
    """Return what a factory makes after ``torch.manual_seed(seed)``; the global state is kept.

    Parameters
    ----------
    factory : callable
    seed : int

    Returns
    -------
    nn.Module

    Raises
    ------
    TypeError
        If the factory returns anything else.

    Examples
    --------
    >>> import torch
    >>> from fastgen.gan.ensemble import seeded
    >>> first, second = (seeded(lambda: torch.nn.Linear(2, 1), 5) for _ in range(2))
    >>> bool((first.weight == second.weight).all())
    True
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = factory()
    if not isinstance(module, nn.Module):
        raise TypeError(f"factory must return an nn.Module, got {type(module).__name__}")
    return module


def _seeds(seeds: Sequence[int] | None, count: int, random_state: Any) -> list[int]:
    if seeds is None:
        return (_random.seed_sequence(random_state).generate_state(count, "uint64") >> 1).tolist()
    found = [_validate.integer(seed, "seeds", minimum=0) for seed in seeds]
    if len(found) != count:
        raise ValueError(f"seeds must be {count}, one for each member, got {len(found)}")
    return found


def _private_names(module: nn.Module, wanted: int | Sequence[str] | str) -> set[str]:
    """Return the names of the private parameters and buffers."""
    names = [*dict(module.named_parameters()), *dict(module.named_buffers())]
    if wanted == "all":
        return set(names)
    if isinstance(wanted, str):
        raise ValueError(
            f"private_layers must be 'all', a number of layers or a list of names, got {wanted!r}; "
            f"did you mean [{wanted!r}]?"
        )
    if isinstance(wanted, Sequence):
        found: set[str] = set()
        for one in wanted:
            inside = {name for name in names if name == one or name.startswith(f"{one}.")}
            if not inside:
                near = difflib.get_close_matches(str(one), names, n=1, cutoff=0.3)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise ValueError(f"private_layers: {one!r} is no layer or parameter{hint}")
            found |= inside
        return found
    count = _validate.integer(wanted, "private_layers", minimum=0)
    paths = [path for path, _ in layers(module)]
    if count > len(paths):
        raise ValueError(
            f"private_layers must be at most {len(paths)}, the number of layers, got {count}; pass "
            "'all' for all of them"
        )
    return {
        name
        for name in names
        if any(name.startswith(f"{path}.") or not path for path in paths[:count])
    }
