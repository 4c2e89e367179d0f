# For the metrics that a benchmark states of its results (docs/records.md). Names are a-z, 0-9 and _.
def named: ascii_downcase | gsub("[^a-z0-9]+"; "_");
# SEEN: the value of each round, an array, or the lowest and the highest of ROUNDS; null where they were not kept.
def metric($name; $value; $unit; $seen; $rounds): {metric: $name, value: $value, unit: $unit,
  spread: (if $seen then $seen | {low: min, high: max, rounds: $rounds} else null end)};
def metric($name; $value; $unit; $seen): metric($name; $value; $unit; $seen; $seen | length);
def metric($name; $value; $unit): metric($name; $value; $unit; null; 0);
