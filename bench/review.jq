# The grouping of `sallyport review`, for `jq -n`: denials by host, port and reason, with clients, first and last.
reduce (inputs | select(.event.action == "tunnel-denied")) as $r ({};
  ([$r.destination.domain // $r.destination.ip // $r.sallyport.target, $r.destination.port, $r.event.reason] | tojson) as $key
  | .[$key].count += 1
  | .[$key].first //= $r["@timestamp"]
  | .[$key].last = $r["@timestamp"]
  | .[$key].clients[$r.source.ip] = true)
| to_entries | sort_by(-.value.count)
| { denials: (map(.value.count) | add // 0), groups: map({ key, count: .value.count, clients: (.value.clients | length) }) }
