"""Saving a scorer into a folder or to the Hub, and loading it."""

import copy
import os
import shutil
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, Self, cast

import torch
from sklearn.base import BaseEstimator
from torch import Tensor

from vilu_sdk.compute.state import plain_torch
from vilu_sdk.exceptions import silent
from vilu_sdk.inputs.places import cut, listed, shown
from vilu_sdk.inputs.remote import is_remote, local, upload
from vilu_sdk.inputs.values import as_path
from vilu_sdk.persistence import hub, storage
from vilu_sdk.persistence.card import Card, backbone_of, model_card
from vilu_sdk.persistence.encoding import check_finite, class_of, decode, encode, storable
from vilu_sdk.persistence.files import sweep
from vilu_sdk.persistence.locks import PATIENCE, held


class Persistent(BaseEstimator):
    """Adds saving and loading to an estimator; every subclass is admitted as `storable`.

    Attributes
    ----------
    card_ : Card
        What is known of it beside its weights; an empty card where nothing is.
    """

    card_: Card = Card()
    #: What a loaded one is called in the code of its model card, and the line that uses it.
    _card_use: ClassVar[tuple[str, str]] = (
        "scorer",
        "u = scorer.predict_uncertainty(z_img, z_txt_set)  # (N,), higher = more likely wrong",
    )

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        storable(cls)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters as scikit-learn does, but tensors outside any graph: they can be copied."""
        params: dict[str, Any] = super().get_params(deep)
        return {
            name: value.detach() if isinstance(value, Tensor) and value.requires_grad else value
            for name, value in params.items()
        }

    def save_pretrained(
        self, folder: str | os.PathLike[str], *, card: Card | None = None, overwrite: bool = False
    ) -> None:
        """Save parameters and everything learned into a folder.

        The folder then holds ``config.json`` and ``model.safetensors``, of which a crash keeps either
        the old or the new pair, and ``README.md``, the model card, which replaces a generated one and
        never one of yours. Nothing is pickled. A `random_state` that is a generator is saved as
        None, because its position in its stream is not part of the scorer; integers are kept.

        Parameters
        ----------
        folder : path-like
            Made if it does not exist. Or an address such as ``s3://bucket/head`` (the extra ``remote``).
        card : Card, optional
            What is known of the scorer beside its weights; by default that of the scorer it was loaded
            as, which `fit` forgets.
        overwrite : bool, default=False
            Also replace a ``config.json`` and a ``model.safetensors`` that are not of a saved scorer of this
            package.

        Raises
        ------
        TypeError
            If a parameter or learned attribute is of a kind that is not stored.
        ValueError
            If a learned array holds NaN or infinite numbers, with which nothing could be scored.
        FileExistsError
            If the folder is a file, or holds such files of something else and `overwrite` is False. Files of
            other names stay beside the scorer.
        BusyError
            If another process has been saving there for a minute.
        OSError
            If the folder cannot be written; what it held is unchanged.

        Examples
        --------
        >>> import tempfile
        >>> from vilu_sdk import MCMScorer
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     MCMScorer(logit_scale=50.0).save_pretrained(folder)
        ...     MCMScorer.from_pretrained(folder)
        MCMScorer(logit_scale=50.0)
        """
        as_path(folder, "folder")
        if isinstance(folder, str) and is_remote(folder):
            self._save_to_address(folder.rstrip("/"), card, overwrite)
            return
        if os.path.lexists(folder) and not os.path.isdir(folder):
            raise FileExistsError(f"{os.fspath(folder)} is a file; a scorer is saved into a folder.")
        if not overwrite:
            storage.refuse_foreign(folder, "__class__")
        self._save(Path(folder), Path(folder).resolve().name, card)

    @classmethod
    @plain_torch
    def from_pretrained(
        cls,
        name_or_path: str | os.PathLike[str],
        *,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        force_download: bool = False,
        local_files_only: bool = False,
        device: str | torch.device = "auto",
    ) -> Self:
        """Load a saved scorer from a folder, from the package or from the Hub.

        Parameters
        ----------
        name_or_path : str or path-like
            In this order: an address such as ``s3://bucket/head`` (the extra ``remote``), an existing folder,
            a head that comes with vilu-sdk, a short name of a Hub repository, a repository ``owner/name``.
        revision : str, optional
            Branch, tag or commit of a Hub repository; by default the main branch, or the commit that a
            short name is pinned to. Ignored where nothing is asked of the Hub, as are the next four.
        token : str or bool, optional
            Access token of the Hub; by default the one that ``hf auth login`` stored.
        cache_dir : path-like, optional
            Where downloads are kept, by default the cache of ``huggingface_hub``.
        force_download : bool
            Download again what is in the cache.
        local_files_only : bool
            Never use the network.
        device : {"auto", "cpu"} or torch.device
            Where its arrays are kept, which is the CPU. `vilu_sdk.set_device` says where it computes.

        Returns
        -------
        scorer
            Of the class that was saved. Its attribute ``card_`` is the `Card` that it was saved with, or an
            empty one.

        Raises
        ------
        FileNotFoundError
            If the name means nothing (the message says what was tried), the repository has no such
            revision, or a file is missing.
        TypeError
            If another class was saved; the base class loads any.
        ValueError
            If the files are damaged, from a newer version, do not fit the class, hold NaN or infinite
            numbers, or make a scorer that cannot score; if the device is another than the CPU.
        PermissionError
            If the repository is gated, or the token may not read it.
        ConnectionError
            If the Hub cannot be reached or fails, and the cache does not hold the repository.

        Examples
        --------
        >>> from vilu_sdk.scorers import Scorer
        >>> scorer = Scorer.from_pretrained("owner/name", revision="v1")  # doctest: +SKIP
        """
        if str(device) not in ("auto", "cpu"):
            raise ValueError(
                f"device must be 'auto' or 'cpu', got {str(device)!r}: scorers are loaded into the memory of "
                "the CPU; vilu_sdk.set_device says where they compute."
            )
        folder = hub.find_folder(
            name_or_path,
            revision=revision,
            token=token,
            cache_dir=cache_dir,
            force_download=force_download,
            local_files_only=local_files_only,
        )
        config, tensors = storage.read_folder(folder)
        try:
            loaded = cls._from_config(config, tensors)
            with silent():
                loaded._try()
            return loaded
        except (TypeError, ValueError) as error:
            said = cut(str(error))
            if said != str(error) or type(error) not in (TypeError, ValueError):
                error = (TypeError if isinstance(error, TypeError) else ValueError)(said)
            error.add_note(f"While loading {folder}.")
            raise error from None
        except (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError) as error:
            said = cut(repr(error))
            raise ValueError(f"{folder} holds no scorer that fits together: {said}.") from error

    def _try(self) -> None:
        """Raise where what was loaded cannot do its work."""

    def push_to_hub(
        self,
        repo_id: str,
        *,
        token: str | bool | None = None,
        private: bool | None = None,
        revision: str | None = None,
        commit_message: str | None = None,
        card: Card | None = None,
        fit_rows: bool = False,
    ) -> str:
        """Upload the scorer to a Hub repository, in one commit.

        Parameters
        ----------
        repo_id : str
            ``owner/name``; made if it does not exist.
        token : str or bool, optional
            Access token of the Hub; by default the one that ``hf auth login`` stored.
        private : bool, optional
            Visibility of a repository that is made now; the owner's default if not given.
        revision : str, optional
            Branch to commit to, made if it does not exist; the main branch by default.
        commit_message : str, optional
            By default says which class was uploaded.
        card : Card, optional
            As in `save_pretrained`.
        fit_rows : bool, default=False
            Whether the hashes of the images of the fit go with it, by which it warns whoever judges it by
            them. No image can be read back from a hash, but who has an image can tell that it was there.

        Returns
        -------
        str
            Address of the commit.

        Raises
        ------
        ValueError
            If `repo_id` is not ``owner/name``.
        TypeError
            As in `save_pretrained`.
        huggingface_hub.errors.HfHubHTTPError
            If the Hub refuses, for instance without a token that may write.
        """
        published = self if fit_rows else _without_fit_rows(copy.deepcopy(self))
        with TemporaryDirectory() as folder:
            published._save(Path(folder), repo_id, card)
            return hub.upload_folder(
                Path(folder),
                repo_id,
                token=token,
                private=private,
                revision=revision,
                commit_message=commit_message or f"Upload {type(self).__name__}",
            )

    def _save_to_address(self, address: str, card: Card | None, overwrite: bool) -> None:
        """Upload the files, the configuration last."""
        with TemporaryDirectory() as folder:
            with suppress(FileNotFoundError):
                there = local(address, storage.FILES)
                if not overwrite:
                    storage.refuse_foreign(there, "__class__")
                if (readme := there / storage.README_FILE).exists():  # which may be the user's own
                    shutil.copy(readme, folder)
            self._save(Path(folder), address.rpartition("/")[2], card)
            for file in reversed(storage.FILES):
                upload(Path(folder) / file, f"{address}/{file}")

    def _save(self, folder: Path, name: str, card: Card | None) -> None:
        """Write the files; `name` is what the model card calls the scorer."""
        if card is None:
            card = vars(self).get("card_")
        elif not isinstance(card, Card):
            raise TypeError(f"card must be a vilu_sdk.scorers.Card, got {type(card).__name__}.")
        tensors: dict[str, Tensor] = {}
        config = encode(self, "", tensors)
        check_finite(tensors, "to be saved")
        if card is not None:
            config["fitted"]["card_"] = encode(card, "card_", tensors)
        config = {"backbone": backbone_of(self, card)} | config
        readme = model_card(self, name, card)
        with held(folder, inside=True, patience=PATIENCE) as alone:
            storage.write_folder(folder, config, tensors, readme)
            if alone:  # and not before: what a kill left behind may be the tensors of the save that is there
                sweep(folder, *storage.FILES, older=0)

    @classmethod
    def _from_config(cls, config: dict[str, Any], tensors: dict[str, Tensor]) -> Self:
        backbone = config.pop("backbone", None)
        saved = class_of(config.get("__class__"))
        if not issubclass(saved, Persistent):
            raise ValueError(f"config.json is of a {saved.__name__}, which is not a scorer.")
        if not issubclass(saved, cls):
            raise TypeError(
                f"{cls.__name__}.from_pretrained was given a saved {saved.__name__}; call "
                f"{saved.__name__}.from_pretrained instead."
            )
        check_finite(tensors, "in model.safetensors")
        unused = dict(tensors)
        scorer = decode(config, unused)
        if unused:
            raise ValueError(f"model.safetensors holds unexpected tensors: {listed(unused)}.")
        card = scorer.card_
        if not isinstance(card, Card):
            raise ValueError(f"config.json has a {type(card).__name__} where the card belongs.")
        expected = backbone_of(scorer, card)
        if backbone != expected:
            raise ValueError(
                f"config.json says of the backbone {shown(backbone)}, but its scorer expects {expected}; one "
                "of the two was changed."
            )
        return cast(Self, scorer)


def _without_fit_rows(saved: Any) -> Any:
    """Take the hashes of the rows of fits out of a scorer, and of the scorers inside."""
    vars(saved).pop("fit_rows_", None)
    for value in vars(saved).values():
        if isinstance(value, Persistent):
            _without_fit_rows(value)
    return saved
