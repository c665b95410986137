"""One notification's life, pure: replies, states, and what bytes they are."""

from unotify.protocol.codec import check_sizes, encode_addfd, pad_response
from unotify.protocol.exchange import AddFd, Exchange, ListenerProtocol
from unotify.protocol.replies import (
    Content,
    Continue,
    Fail,
    HasFileno,
    InstallFd,
    PlainReply,
    Reply,
    Return,
)
from unotify.protocol.states import (
    EXCHANGE,
    LISTENER,
    ExchangeMove,
    ExchangeState,
    ListenerMove,
    ListenerState,
)

__all__ = [
    "EXCHANGE",
    "LISTENER",
    "AddFd",
    "Content",
    "Continue",
    "Exchange",
    "ExchangeMove",
    "ExchangeState",
    "Fail",
    "HasFileno",
    "InstallFd",
    "ListenerMove",
    "ListenerProtocol",
    "ListenerState",
    "PlainReply",
    "Reply",
    "Return",
    "check_sizes",
    "encode_addfd",
    "pad_response",
]
