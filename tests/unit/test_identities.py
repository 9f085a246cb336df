"""Files with identities: which are taken, and what is said about others without repeating a word of theirs."""

from __future__ import annotations

import pyrage
import pytest

from resguardo.api.encryption import print_recipient, public_key
from resguardo.api.errors import IdentityInvalid, RecipientInvalid
from resguardo.store.identities import parse_identities
from resguardo.store.recipients import parse_recipients

IDENTITY = pyrage.x25519.Identity.generate()
LINE, PUBLIC = str(IDENTITY), str(IDENTITY.to_public())
OTHER = str(pyrage.x25519.Identity.generate())


@pytest.mark.parametrize(
    ("text", "count"),
    [
        pytest.param(LINE, 1, id="one line"),
        pytest.param(f"# created: x\n# public key: {PUBLIC}\n{LINE}\n", 1, id="as age-keygen writes it"),
        pytest.param(f"{LINE}\n\n# the old one\n  {OTHER}  \n", 2, id="several"),
        pytest.param(f"# a comment\r\n{LINE}\r\n", 1, id="written on Windows"),
    ],
)
def test_what_is_taken(text: str, count: int) -> None:
    assert len(parse_identities(text.encode(), origin="the file")) == count


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param(b"", "the file holds no identity", id="empty"),
        pytest.param(b"# only a comment\n", "the file holds no identity", id="a comment"),
        pytest.param(f"{LINE}\nhunter2\n".encode(), "the file, line 2 is no identity", id="a second line of something else"),
        pytest.param(LINE[:-4].encode(), "the file, line 1 is an identity that was cut", id="cut"),
        pytest.param(PUBLIC.encode(), "is a public key, which opens nothing", id="a public key"),
        pytest.param(b"ssh-ed25519 AAAA ana", "is a public key, which opens nothing", id="an SSH public key"),
        pytest.param(b"\xff\xfe\x00", "is no text", id="bytes"),
        pytest.param(b"x" * 70_000, "is larger than any identity", id="large"),
        pytest.param(b"age-encryption.org/v1\n-> scrypt", "is encrypted itself", id="under a passphrase"),
        pytest.param(b"-----BEGIN OPENSSH PRIVATE KEY-----\nhunter2\n-----END OPENSSH PRIVATE KEY-----\n",
                     "is no SSH private key that age knows", id="no SSH key"),
    ],
)  # fmt: skip
def test_what_is_refused_is_not_repeated(content: bytes, words: str) -> None:
    with pytest.raises(IdentityInvalid) as refused:
        parse_identities(content, origin="the file")
    assert words in str(refused.value)
    assert "hunter2" not in str(refused.value)
    assert LINE[:-4] not in str(refused.value)


def test_every_recipient_that_is_none_is_named() -> None:
    good, bad = PUBLIC, PUBLIC[:-1] + ("q" if PUBLIC[-1] != "q" else "p")
    with pytest.raises(RecipientInvalid) as refused:
        parse_recipients([good, bad, "ssh-ed25519 AAAA ana@portal"])
    assert good not in str(refused.value)
    assert bad in str(refused.value)
    assert "ssh-ed25519 AAAA" in str(refused.value)
    assert len(parse_recipients([good, good])) == 2


def test_a_comment_is_no_part_of_a_public_key_and_a_long_one_is_cut_for_messages() -> None:
    rsa = "ssh-rsa AAAA" + "B" * 500 + " ana@portal"
    assert public_key(rsa).endswith("BBB")
    assert len(print_recipient(rsa)) < 60
    assert print_recipient(PUBLIC) == PUBLIC
