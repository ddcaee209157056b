"""Saving a scorer into a folder or to the Hub, and loading it."""

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self, cast

from sklearn.base import BaseEstimator
from torch import Tensor

from vilu_sdk import hub
from vilu_sdk.scorers._card import Card
from vilu_sdk.scorers._encoding import class_of, decode, encode, storable


class Persistent(BaseEstimator):
    """Adds saving and loading to an estimator; every subclass is admitted as `storable`."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        storable(cls)

    def save_pretrained(self, folder: str | os.PathLike[str], *, card: Card | None = None) -> None:
        """Save parameters and everything learned into a folder.

        The folder then holds ``config.json`` and ``model.safetensors``, of which a crash keeps either
        the old or the new pair. Nothing is pickled. A `random_state` that is a generator is saved as
        None, because its position in its stream is not part of the scorer; integers are kept.

        Parameters
        ----------
        folder : path-like
            Made if it does not exist.
        card : Card, optional
            What is known of the scorer beside its weights; by default the `card_` it was loaded with.

        Raises
        ------
        TypeError
            If a parameter or learned attribute is of a kind that is not stored.
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
        tensors: dict[str, Tensor] = {}
        config = encode(self, "", tensors)
        if card is not None:
            config["fitted"]["card_"] = encode(card, "card_", tensors)
        hub.write_folder(folder, config, tensors)

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | os.PathLike[str],
        *,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        force_download: bool = False,
        local_files_only: bool = False,
    ) -> Self:
        """Load a saved scorer from a folder or from the Hub.

        Parameters
        ----------
        name_or_path : str or path-like
            An existing folder; else a Hub repository ``owner/name``; a bare ``name`` is a repository
            of this project, ``vilu-sdk/name``. The options below concern the Hub alone.
        revision : str, optional
            Branch, tag or commit; the main branch by default.
        token : str or bool, optional
            Access token of the Hub; by default the one that ``hf auth login`` stored.
        cache_dir : path-like, optional
            Where downloads are kept, by default the cache of ``huggingface_hub``.
        force_download : bool
            Download again what is in the cache.
        local_files_only : bool
            Never use the network.

        Returns
        -------
        scorer
            Of the class that was saved, with its tensors on the CPU.

        Raises
        ------
        FileNotFoundError
            If there is no such folder, repository or revision, or a file of it is missing.
        TypeError
            If another class was saved; the base class loads any.
        ValueError
            If the files are damaged, from a newer version, or do not fit the class.
        PermissionError
            If the repository is gated and the token has no access.
        """
        folder = hub.find_folder(
            name_or_path,
            revision=revision,
            token=token,
            cache_dir=cache_dir,
            force_download=force_download,
            local_files_only=local_files_only,
        )
        config, tensors = hub.read_folder(folder)
        try:
            return cls._from_config(config, tensors)
        except (TypeError, ValueError) as error:
            error.add_note(f"While loading {folder}.")
            raise

    def push_to_hub(
        self,
        repo_id: str,
        *,
        token: str | bool | None = None,
        private: bool | None = None,
        revision: str | None = None,
        commit_message: str | None = None,
        card: Card | None = None,
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

        Returns
        -------
        str
            Address of the commit.

        Raises
        ------
        ValueError
            If `repo_id` has no owner.
        TypeError
            As in `save_pretrained`.
        huggingface_hub.errors.HfHubHTTPError
            If the Hub refuses, for instance without a token that may write.
        """
        with TemporaryDirectory() as folder:
            self.save_pretrained(folder, card=card)
            return hub.upload_folder(
                Path(folder),
                repo_id,
                token=token,
                private=private,
                revision=revision,
                commit_message=commit_message or f"Upload {type(self).__name__}",
            )

    @classmethod
    def _from_config(cls, config: dict[str, Any], tensors: dict[str, Tensor]) -> Self:
        saved = class_of(config.get("__class__"))
        if not issubclass(saved, Persistent):
            raise ValueError(f"config.json is of a {saved.__name__}, which is not a scorer.")
        if not issubclass(saved, cls):
            raise TypeError(
                f"{cls.__name__}.from_pretrained was given a saved {saved.__name__}; call "
                f"{saved.__name__}.from_pretrained instead."
            )
        unused = dict(tensors)
        scorer = decode(config, unused)
        if unused:
            raise ValueError(f"model.safetensors holds unexpected tensors: {', '.join(sorted(unused))}.")
        return cast(Self, scorer)
