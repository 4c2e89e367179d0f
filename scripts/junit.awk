# Reads a report of `ctest --output-junit`. Prints "counts PASSED FAILED SKIPPED" last, before it a line for each
# skipped test with its reason, and for each failed one its output.

function decode(s) {
  gsub(/&lt;/, "<", s); gsub(/&gt;/, ">", s); gsub(/&quot;/, "\"", s); gsub(/&apos;/, "'", s); gsub(/&amp;/, "\\&", s)
  return s
}
function attribute(line, name,    at) {
  at = index(line, " " name "=\"")
  if (!at) return ""
  line = substr(line, at + length(name) + 3)
  return decode(substr(line, 1, index(line, "\"") - 1))
}
# What GoogleTest prints around every test says nothing here.
function noise(s) { return s ~ /^(Running main|Note: Google|\[[-=]+\]|\[ (RUN|SKIPPED|PASSED|FAILED) |\[  (SKIPPED|PASSED|FAILED) | *[0-9]+ FAILED TEST|$)/ }

/^\t<testcase / {
  name = attribute($0, "name"); status = attribute($0, "status"); message = ""; lines = 0; reason = ""
}
/^\t\t<skipped / { message = attribute($0, "message") }
/^\t\t<system-out>/ { inside = 1; sub(/^\t\t<system-out>/, "") }
inside {
  ends = sub(/<\/system-out>.*$/, "")
  text = decode($0)
  if (!noise(text)) output[lines++] = text
  # A script says "skipped: why"; GTEST_SKIP puts why on the line after "file:line: Skipped".
  if (reason == "" && text ~ /^skipped: /) reason = substr(text, 10)
  if (reason == "" && lines > 1 && output[lines - 2] ~ /: Skipped$/) reason = text
  if (ends) inside = 0
}
/^\t<\/testcase>/ {
  if (status == "run") {
    ++passed
  } else if (status == "disabled" || (status == "notrun" && message ~ /^SKIP_/)) {
    ++skipped
    print "  skipped: " name ": " (reason != "" ? reason : status == "disabled" ? "disabled" : "no reason given")
  } else {
    ++failed
    print "  FAILED: " name
    for (i = 0; i < lines && i < 30; ++i) print "    " output[i]
    if (lines > 30) print "    (" lines - 30 " more lines are in the log)"
  }
}
END { print "counts", passed + 0, failed + 0, skipped + 0 }
