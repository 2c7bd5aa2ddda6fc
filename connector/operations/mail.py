"""Sends one e-mail by SMTP (RFC 5321, RFC 3207 for STARTTLS, RFC 4954 for AUTH) with the standard library."""

from __future__ import annotations

import smtplib
import ssl
from contextlib import suppress
from email.message import EmailMessage
from email.utils import formatdate

from connector.capabilities import Notice
from connector.config import MailSettings
from connector.errors import ConnectorError
from connector.text import clean

TIMEOUT_SECONDS = 10.0
"""For each step of the connection."""


class MailError(ConnectorError):
    """The e-mail was not accepted. The message has no addresses and no credentials."""


def send_mail(settings: MailSettings, notice: Notice) -> None:
    """Sends a notice to all recipients. Blocks. Raises `MailError`."""
    try:
        server = _connected(settings)
        try:
            if settings.username is not None and settings.password is not None:
                server.login(settings.username, settings.password.get_secret_value())
            server.send_message(message_of(settings, notice))
        finally:
            with suppress(smtplib.SMTPException, OSError):  # the e-mail was accepted before, or the error is known
                server.quit()
            server.close()
    except smtplib.SMTPResponseException as error:
        raise MailError(f"the mail server answered {error.smtp_code} ({type(error).__name__})") from None
    except (smtplib.SMTPException, OSError) as error:
        raise MailError(f"the mail server could not be used ({type(error).__name__})") from None


def message_of(settings: MailSettings, notice: Notice) -> EmailMessage:
    """Returns the e-mail. Its `Message-ID` is that of the notice."""
    message = EmailMessage()
    message["From"] = settings.sender
    message["To"] = ", ".join(settings.recipients)
    message["Subject"] = " ".join(clean(notice.title).split())
    message["Date"] = formatdate()
    message["Message-ID"] = f"<{notice.id}@{settings.sender.rpartition('@')[2]}>"
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no vacation replies
    message.set_content("\n".join([notice.title, "", *notice.lines, ""]))
    return message


def _connected(settings: MailSettings) -> smtplib.SMTP:
    context = ssl.create_default_context()
    if settings.security == "tls":
        return smtplib.SMTP_SSL(settings.host, settings.port, timeout=TIMEOUT_SECONDS, context=context)
    server = smtplib.SMTP(settings.host, settings.port, timeout=TIMEOUT_SECONDS)
    try:
        if settings.security == "starttls":
            server.starttls(context=context)
    except BaseException:
        server.close()
        raise
    return server
