# Shows the output of `pip install` as a progress bar on a terminal (tty=1), else as one line per quarter.
# total: how many packages there are.
function bar(done,    part, text) {
    part = int(20 * done / total)
    for (text = ""; length(text) < 20;) text = text (length(text) < part ? "#" : ".")
    return text
}
/^(Collecting|Processing) / {
    count++
    if (tty) printf "\r  [%s] %d of %d packages", bar(count < total ? count : total), count, total
    else if (count % int(total / 4) == 0) printf "  %d of %d packages\n", count, total
    fflush()
}
/^Installing collected/ { printf tty ? "\n  unpacking\n" : "  unpacking\n"; fflush() }
/ERROR/ { print }
