"""The family of errors. Each class is a reason that a condition shows, an exit status, and whether a retry can help.

ResguardoError
├── InputError            what a person wrote, or gave as credentials, cannot be used
│   ├── DocumentInvalid
│   ├── CredentialsMissing
│   ├── RecipientInvalid, IdentityInvalid, IdentityRefused, SigningKeyInvalid
│   ├── PlanChanged
│   └── LockOutlivesMaxAge
├── PostgresError         the database answered, or did not
│   ├── DatabaseUnreachable, AuthenticationFailed, DatabaseNotFound, TlsFailed
│   ├── PermissionDenied, LockTimeout, SchemaChanging, ServerVersionUnsupported
│   ├── PoolerInBetween, LockTableFull
│   └── DumpFailed, CensusFailed, ToolMissing
├── StoreError            the bucket answered, or did not
│   ├── StoreUnreachable, StoreAccessDenied, BucketNotFound, ObjectMissing
│   ├── ConditionalWriteNotHonoured, PrefixOwned, WriteConflict
│   ├── StorageClassRefused, ObjectFrozen, StoreFull
│   ├── EncryptionNotHonoured, KmsKeyNotFound, ObjectLockNotHonoured
│   └── ObjectCorrupt, ManifestInvalid, FormatTooNew, SignatureRefused
├── RestoreError          a request that ended without the database it asked for
│   ├── BackupNotFound, TargetNotEmpty, TargetBusy, RestoreBlocked, RestoreFailed
│   └── RestoredUnverified, AlreadyRestored, Expired, BackupMarked
├── DeadlineExceeded      the time that the policy allows is over
├── DiskFull              no room, or no right, to write a file where this runs
└── Stopped               the process was told to stop (SIGTERM)
"""

from __future__ import annotations

import errno
from typing import ClassVar


class ResguardoError(Exception):
    """Base of all: the message says what is wrong, where, and what to do."""

    exit_status: ClassVar[int] = 1
    #: Whether trying again, with nothing changed by a person, can succeed.
    can_retry: ClassVar[bool] = False

    @property
    def reason(self) -> str:
        """The CamelCase word that the condition and the Report carry."""
        return type(self).__name__


class InputError(ResguardoError):
    """What a person wrote, or gave as credentials, cannot be used."""


class DocumentInvalid(InputError):
    """A policy or request file that is no such document; names each field."""

    exit_status = 10


class CredentialsMissing(InputError):
    """A credential that the document asks for is neither mounted nor in the environment, or cannot be used as it is."""

    exit_status = 11


class RecipientInvalid(InputError):
    """A policy encrypts to a public key that is none."""

    exit_status = 56


class IdentityInvalid(InputError):
    """What was given to decrypt with is no identity that can be used; nothing of it is told."""

    exit_status = 54


class IdentityRefused(InputError):
    """No identity that was given opens the backup; the message says which recipients' would."""

    exit_status = 55


class SigningKeyInvalid(InputError):
    """The key with which backups are to be signed is none, or nobody believes it."""

    exit_status = 58


class PlanChanged(InputError):
    """The plan that a person accepts is not the one that stands now."""

    exit_status = 12


class LockOutlivesMaxAge(InputError):
    """The store locks each object for longer than the policy's maxAge lets anything be kept."""

    exit_status = 13


class PostgresError(ResguardoError):
    """The database answered with a refusal, or did not answer."""

    exit_status = 29


class DatabaseUnreachable(PostgresError):
    """No connection: wrong host or port, a network that refuses, a server that is starting or full."""

    exit_status = 20
    can_retry = True


class AuthenticationFailed(PostgresError):
    """The server refuses the role, the password or the client certificate."""

    exit_status = 21


class DatabaseNotFound(PostgresError):
    """The server has no database of that name."""

    exit_status = 22


class PermissionDenied(PostgresError):
    """Rights are missing; the message names each."""

    exit_status = 23


class LockTimeout(PostgresError):
    """Somebody else held a lock for longer than a backup may wait."""

    exit_status = 24
    can_retry = True


class SchemaChanging(PostgresError):
    """Tables kept being truncated, rewritten or made while locks and snapshot were taken."""

    exit_status = 25
    can_retry = True


class ServerVersionUnsupported(PostgresError):
    """The server is newer than the tools, or older than any that Resguardo knows."""

    exit_status = 26


class DumpFailed(PostgresError):
    """pg_dump, or another process of its pipe, ended with an error."""

    exit_status = 27
    can_retry = True


class CensusFailed(PostgresError):
    """The census could not be taken, for a reason other than its budget."""

    exit_status = 28
    can_retry = True


class TlsFailed(PostgresError):
    """The TLS that the policy asks for could not be had: no TLS there, an unknown CA, another name, an expired key."""

    exit_status = 19


class PoolerInBetween(PostgresError):
    """A connection pooler answers in the server's place: locks and snapshots cannot be trusted through it."""

    exit_status = 16


class LockTableFull(PostgresError):
    """More tables than the server's lock table holds: max_locks_per_transaction is to be raised."""

    exit_status = 15


class ToolMissing(PostgresError):
    """A client program of PostgreSQL is not where this runs, or cannot be started."""

    exit_status = 17


class StoreError(ResguardoError):
    """The store answered with a refusal, or did not answer."""

    exit_status = 39


class StoreUnreachable(StoreError):
    """No answer, or only errors of the server's own, for longer than retries last."""

    exit_status = 30
    can_retry = True


class StoreAccessDenied(StoreError):
    """The store refuses the keys, or the action to them."""

    exit_status = 31


class BucketNotFound(StoreError):
    """The store has no bucket of that name."""

    exit_status = 32


class ConditionalWriteNotHonoured(StoreError):
    """The store let a conditional write overwrite: two writers could not be told apart."""

    exit_status = 33


class PrefixOwned(StoreError):
    """The prefix belongs to another policy or cluster."""

    exit_status = 34


class WriteConflict(StoreError):
    """Something else stands where a new object was to be made."""

    exit_status = 35


class ObjectMissing(StoreError):
    """An object that a manifest names is not there."""

    exit_status = 36


class ObjectCorrupt(StoreError):
    """An object's bytes are not those that were written."""

    exit_status = 37


class ManifestInvalid(StoreError):
    """A manifest, census or marker that cannot be read as one."""

    exit_status = 38


class FormatTooNew(StoreError):
    """Written by a newer Resguardo, in a format that this one does not know."""

    exit_status = 18


class StorageClassRefused(StoreError):
    """The store does not keep objects in a storage class that the policy names."""

    exit_status = 53


class StoreFull(StoreError):
    """The store has no room for another object, or its quota is used up."""

    exit_status = 60


class ObjectFrozen(StoreError):
    """An object lies in a storage class from which it must be brought back before it can be read."""

    exit_status = 14


class EncryptionNotHonoured(StoreError):
    """The store does not say that it encrypts as the policy asks."""

    exit_status = 70


class KmsKeyNotFound(StoreError):
    """The store's key management has no such key, or nothing can be done with it any more."""

    exit_status = 71


class SignatureRefused(StoreError):
    """A backup that is not signed with a key that counts, was signed for another place, or does not fit the others."""

    exit_status = 57


class ObjectLockNotHonoured(StoreError):
    """The store does not lock objects as the policy asks: the bucket has no object lock, or nothing is said of one."""

    exit_status = 72


class RestoreError(ResguardoError):
    """A request that ended without the database it asked for."""

    exit_status = 49


class BackupNotFound(RestoreError):
    """No backup in the bucket is the one asked for."""

    exit_status = 40


class TargetNotEmpty(RestoreError):
    """The target database exists and holds something, and the request says Refuse."""

    exit_status = 41


class TargetBusy(RestoreError):
    """Slots, subscriptions, prepared transactions or stubborn connections hang on the database to be replaced."""

    exit_status = 42


class RestoreBlocked(RestoreError):
    """What would fail while loading, found before loading; the message lists all of it."""

    exit_status = 43


class RestoreFailed(RestoreError):
    """Loading ended with an error; what was there before is untouched."""

    exit_status = 44


class RestoredUnverified(RestoreError):
    """Loaded, but not equal to the census: kept aside, with the command that promotes it."""

    exit_status = 45


class AlreadyRestored(RestoreError):
    """A database on the server carries this request's mark: it is never carried out twice."""

    exit_status = 46


class Expired(RestoreError):
    """The request's notAfter has passed."""

    exit_status = 47


class BackupMarked(RestoreError):
    """The backup is marked for removal, which could come before the restore's end."""

    exit_status = 48


class DeadlineExceeded(ResguardoError):
    """The time that the policy or request allows is over; nothing was committed."""

    exit_status = 50


class DiskFull(ResguardoError):
    """A file could not be written where this runs: no room left, a quota, or a file system that is read only."""

    exit_status = 52

    @classmethod
    def of(cls, error: OSError) -> DiskFull:
        """What the system said, and which file it was."""
        where = error.filename or "a file that was being written"
        return cls(f"{where}: {error.strerror}. Make room there, or name another folder for temporary files in TMPDIR")


#: What the system says where a file cannot be written for want of room.
NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})


class Stopped(ResguardoError):
    """The process was told to stop before it was done; nothing was committed."""

    exit_status = 51
    can_retry = True
