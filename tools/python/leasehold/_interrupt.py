# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C, held back while something is being taken or given back."""

import signal
import threading


class HeldBack:
    """Within `with`, what handles SIGINT in Python runs in let_through(), and at the end, nowhere else.

    So that KeyboardInterrupt does not come between the C call that was granted something and the line
    that takes note of it. The signal ends a wait in C all the same (EINTR). Handlers run in the main
    thread alone, so that elsewhere there is nothing to do.
    """

    def __init__(self):
        self._handler = None
        self._came = None

    def __enter__(self):
        if threading.current_thread() is threading.main_thread():
            handler = signal.getsignal(signal.SIGINT)
            if callable(handler):  # not SIG_IGN or SIG_DFL, or one that was not set from Python
                self._handler = handler
                signal.signal(signal.SIGINT, self._note)
        return self

    def _note(self, *signal_and_frame):
        self._came = signal_and_frame

    def let_through(self):
        """Runs the handler if the signal has come; it may raise."""
        came, self._came = self._came, None
        if came:
            self._handler(*came)

    def __exit__(self, *_):
        if self._handler:
            signal.signal(signal.SIGINT, self._handler)
            self.let_through()


def taking(take, undo):
    """take(held_back)'s result; undo(result), too, if Ctrl-C came after all was taken."""
    result = None
    try:
        with HeldBack() as held_back:
            result = take(held_back)
    except BaseException:
        if result is not None:
            with HeldBack():
                undo(result)
        raise
    return result
