"""What all chats share: which changes are announced, in which message, and how each is posted exactly once."""
