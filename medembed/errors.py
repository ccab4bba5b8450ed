"""Every error medembed raises on purpose, in one tree.

    MedEmbedError
    ├── InputTypeError (TypeError)            an input that is not text
    ├── InputFileError (ValueError)           a file of texts or vectors that cannot be read or written
    ├── OverlongTextError (ValueError)        overlong="error" met a text above the limit
    ├── UnsafePathError (ValueError)          a name or a link in data that leads out of its folder
    ├── WriteError (OSError)                  a file or folder that cannot be written
    │   └── StorageFullError                  no room left on the disk, or in the quota
    ├── SettingError (ValueError)             an argument outside what is allowed
    │   ├── DeviceError                       a device this machine does not have
    │   └── PrecisionError                    a precision this device cannot run well
    ├── MissingExtraError (ImportError)       an optional dependency is not installed
    ├── ClosedModelError (RuntimeError)       a model used after close()
    ├── EngineError (RuntimeError)            the engine failed while computing
    ├── UnknownModelError (ValueError)        neither a known name, a hub id nor a folder
    ├── ModelNotCachedError (FileNotFoundError)  not on disk, and downloading is off or impossible
    ├── CheckpointError (ValueError)          a model folder that cannot be loaded
    │   ├── MissingFileError                  a file the model needs is absent
    │   ├── CorruptFileError                  a file is truncated or unreadable
    │   ├── UnsafeWeightsError                weights exist only as a pickle
    │   ├── BadWeightsError                   NaN, or shapes that do not fit the config
    │   ├── ModelChangedError                 the folder holds another model than the one asked for or running
    │   └── UnsupportedModelError             an architecture or module no engine here can run
    ├── EvaluationError (ValueError)          evaluation data or results that cannot be used
    │   ├── UnknownTaskError                  neither a task, a set of tasks nor a folder
    │   ├── TaskDataError                     a BEIR folder that breaks its format, with file and line
    │   ├── TaskDownloadError                 a task's data are not on disk and cannot be downloaded
    │   └── ResultsError                      result files that cannot be read or compared
    ├── CorpusError (ValueError)              an embedded corpus that cannot be used as asked
    │   ├── CorpusModelError                  another model, or another dimension, than it was embedded with
    │   ├── CorpusVersionError                written by a newer medembed
    │   ├── CorpusDamagedError                a file of it is missing or changed
    │   ├── CorpusUnfinishedError             indexing it has not come to its end
    │   ├── CorpusScopeError                  asked without a scope, or with one that it does not have
    │   ├── SyncLimitError                    a sync that would delete more of it than it may
    │   └── CorpusBusyError                   another process writes to it
    ├── IndexingStoppedError (RuntimeError)   indexing was asked to stop; what is done is kept
    ├── ServingError (RuntimeError)           a server that cannot start
    │   └── RefusedError                      a request that is refused, with its HTTP status
    ├── StoreModelError (ValueError)          a store of others holds another model's vectors, or does not say whose
    ├── VectorError (ValueError)              vectors or quantization ranges that do not fit
    └── RecipeError (ValueError)              a recipe that cannot run
        ├── UnknownRecipeError                no recipe of that name
        ├── RecipeConfigError                 settings that are wrong, all of them listed
        ├── SourceError                       a data file that is missing or not the one the recipe names
        ├── EmptyStageError                   a stage left nothing for the next one
        ├── WorkFolderBusyError               another run holds the work folder
        ├── PairWriterError                   whoever writes the pairs cannot be reached or does not answer
        ├── ScoreError                        the model scores below what the recipe promises
        └── PublishError                      the model is built, the hub does not take it

Each is also the built-in error named in brackets, so ``except ValueError`` works too. Messages say what happened,
what was expected and what to do. They hold names, numbers and indices, never the texts themselves.
"""

from typing import Self


class MedEmbedError(Exception):
    """Root of every error medembed raises on purpose."""


class InputTypeError(MedEmbedError, TypeError):
    """An input that is not text. The message names its index and its type."""


class InputFileError(MedEmbedError, ValueError):
    """A file of texts or vectors that cannot be read or written. The message names the file and the line."""


class OverlongTextError(MedEmbedError, ValueError):
    """With ``overlong="error"``: a text has more tokens than the model reads."""

    index = 0

    @classmethod
    def of(cls, index: int, problem: str) -> Self:
        """The error for one text.

        Args:
            index: Its place in the caller's input, from 0.
            problem: What follows ``text N``.
        """
        error = cls(f"text {index} {problem}")
        error.index = index
        return error

    def at(self, place: str) -> Self:
        """The same error, with another name for the text."""
        return type(self)(str(self).replace(f"text {self.index}", place, 1))


class UnsafePathError(MedEmbedError, ValueError):
    """A name or a link that leads out of its folder.

    It is in data from elsewhere. Nothing was written or removed there.
    """


class WriteError(MedEmbedError, OSError):
    """A file or folder that cannot be written. What was there stays."""

    @classmethod
    def of(cls, message: str, number: int | None) -> Self:
        """Make an error with the system's number, for callers that tell it in words of their own.

        Args:
            message: What happened and what to do.
            number: The system's error number.
        """
        error = cls(message)
        error.errno = number
        return error


class StorageFullError(WriteError):
    """The disk or the quota is used up. What is finished stays, and nothing half-written does."""


class SettingError(MedEmbedError, ValueError):
    """An argument outside what is allowed. The message lists what is."""


class DeviceError(SettingError):
    """A device that does not exist here or that no engine serves."""


class PrecisionError(SettingError):
    """A precision that the chosen device cannot run, or only uselessly slowly."""


class MissingExtraError(MedEmbedError, ImportError):
    """An optional dependency is missing. The message is the pip line that brings it."""


class ClosedModelError(MedEmbedError, RuntimeError):
    """A model used after ``close()``."""


class EngineError(MedEmbedError, RuntimeError):
    """The engine failed while computing: out of memory for a single text, or a non-finite vector."""


class UnknownModelError(MedEmbedError, ValueError):
    """Neither a known name, nor a hub id, nor a folder. The message names the nearest known ones."""


class ModelNotCachedError(MedEmbedError, FileNotFoundError):
    """The model is not on this disk and downloading is switched off or impossible."""


class CheckpointError(MedEmbedError, ValueError):
    """A model folder that cannot be loaded."""


class MissingFileError(CheckpointError):
    """A file the model needs is absent."""


class CorruptFileError(CheckpointError):
    """A file is truncated or cannot be read as what it should be."""


class UnsafeWeightsError(CheckpointError):
    """The weights exist only as a pickle, which can run code when loaded."""


class BadWeightsError(CheckpointError):
    """Weights that are not finite, or whose names or shapes do not fit ``config.json``."""


class ModelChangedError(CheckpointError):
    """A model folder whose files are not those that were asked for, or that a running model was loaded from."""


class UnsupportedModelError(CheckpointError):
    """An architecture, pooling or module that no engine here can run faithfully."""


class VectorError(MedEmbedError, ValueError):
    """Vectors or quantization ranges whose shape, type or values do not fit."""


class CorpusError(MedEmbedError, ValueError):
    """An embedded corpus that cannot be made, opened or used as asked."""


class CorpusModelError(CorpusError):
    """A model or a dimension that a corpus was not embedded with. The message says both."""


class CorpusScopeError(CorpusError):
    """A store that is divided by a scope column was asked without a scope, or with one that it does not have."""


class SyncLimitError(CorpusError):
    """A sync that would delete more of a store than it may. Nothing was changed."""


class CorpusVersionError(CorpusError):
    """A corpus written by a newer version of medembed."""


class CorpusDamagedError(CorpusError):
    """A file of a corpus is missing, or its bytes are not those that were written."""


class CorpusUnfinishedError(CorpusError):
    """A corpus whose indexing has not come to its end: its manifest is not there yet."""


class CorpusBusyError(CorpusError):
    """Another process writes to the same corpus."""


class StoreModelError(MedEmbedError, ValueError):
    """A vector store whose stamp is missing, or names another model. The message says both."""


class IndexingStoppedError(MedEmbedError, RuntimeError):
    """Indexing was asked to stop and did, between two shards. Running it again goes on from there."""


class ServingError(MedEmbedError, RuntimeError):
    """A server that cannot start with what it was given, or cannot go on."""


class RefusedError(ServingError):
    """A request that is refused.

    Args:
        status: HTTP status of the answer.
        message: What happened, what was expected, what to do.
        retry_after: Seconds after which it may be sent again; None where that would not help.
    """

    def __init__(self, status: int, message: str, retry_after: int | None = None) -> None:
        """Hold what is given."""
        super().__init__(message)
        self.status, self.retry_after = status, retry_after


class RecipeError(MedEmbedError, ValueError):
    """A recipe that cannot run."""


class UnknownRecipeError(RecipeError):
    """Neither a shipped recipe nor a path to one. The message names the nearest."""


class RecipeConfigError(RecipeError):
    """Settings that are wrong. The message lists every problem and what is allowed."""


class SourceError(RecipeError):
    """A data file that is missing, or whose content is not what the recipe names."""


class EmptyStageError(RecipeError):
    """A stage left nothing for the next one. The message holds the counts of what was dropped and why."""


class WorkFolderBusyError(RecipeError):
    """Another run is at work in the same folder."""


class PairWriterError(RecipeError):
    """The writer of the pairs cannot be reached or refuses every request."""


class PublishError(RecipeError):
    """The model is built, but the hub cannot be reached or refuses it."""


class ScoreError(RecipeError):
    """The finished model scores below what the recipe promises."""


class EvaluationError(MedEmbedError, ValueError):
    """Evaluation data or results that cannot be used."""


class UnknownTaskError(EvaluationError):
    """Neither a task, nor a set of tasks, nor a BEIR folder. The message names the nearest ones."""


class TaskDataError(EvaluationError):
    """A BEIR folder that breaks its format. The message begins with the file and the line."""


class TaskDownloadError(EvaluationError):
    """A task's data are not on this disk and cannot be downloaded.

    The message says what is needed and where it goes.
    """


class ResultsError(EvaluationError):
    """Result files that cannot be read, or that hold nothing to compare."""
