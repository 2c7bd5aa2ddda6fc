"""The child process of `sinks.workbook.child`; of no use to people."""

from sinks.workbook.child import main

if __name__ == "__main__":
    main()
