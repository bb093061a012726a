// logql reads LogQL queries, one JSON string per line, and says on standard output what Loki's own parser says of each:
// "ok", or the error. It is the only Go of this repository, because Loki's parser is to be had in no other language.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"

	"github.com/grafana/loki/v3/pkg/logql/syntax"
)

func main() {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var query string
		if err := json.Unmarshal(lines.Bytes(), &query); err != nil {
			fmt.Println("not a JSON string:", err)
			continue
		}
		if _, err := syntax.ParseExpr(query); err != nil {
			fmt.Println(err)
			continue
		}
		fmt.Println("ok")
	}
	if err := lines.Err(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
