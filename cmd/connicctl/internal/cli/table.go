package cli

import (
	"strings"
	"time"
)

// A table is a table in progress.
type table[T any] struct {
	app     *App
	columns []Column[T]
	grows   bool
	begun   bool
	rows    [][]string
	styles  [][]string
}

func newTable[T any](a *App, columns []Column[T], grows bool) *table[T] {
	t := &table[T]{app: a, grows: grows}
	for _, c := range columns {
		if !c.Block {
			t.columns = append(t.columns, c)
		}
	}
	return t
}

// add adds a row, and writes it if the table grows.
func (t *table[T]) add(item T) error {
	row, styles := make([]string, len(t.columns)), make([]string, len(t.columns))
	for i, c := range t.columns {
		if row[i] = t.app.Line(c.Value(item)); row[i] == "" {
			row[i] = "-"
		}
		styles[i] = style(c, item)
	}
	t.rows, t.styles = append(t.rows, row), append(t.styles, styles)
	if t.grows {
		t.flush()
	}
	return t.app.out.err
}

// flush writes the rows that were not written, below the names of the columns.
func (t *table[T]) flush() {
	widths := make([]int, len(t.columns))
	for i, c := range t.columns {
		widths[i] = columnsOf(c.Name)
		if t.grows {
			widths[i] = max(widths[i], c.Width)
			continue
		}
		for _, row := range t.rows {
			widths[i] = max(widths[i], columnsOf(row[i]))
		}
	}
	if t.app.StdoutTTY && t.app.Width > 0 {
		t.fit(widths)
	}
	if !t.begun {
		t.begun = true
		names, styles := make([]string, len(t.columns)), make([]string, len(t.columns))
		for i, c := range t.columns {
			names[i], styles[i] = strings.ToUpper(c.Name), "1"
		}
		t.row(names, styles, widths)
	}
	for i, row := range t.rows {
		t.row(row, t.styles[i], widths)
	}
	t.rows, t.styles = nil, nil
}

// gap separates columns.
const gap = "  "

func (t *table[T]) row(cells, styles []string, widths []int) {
	var b strings.Builder
	for i, cell := range cells {
		if t.app.StdoutTTY {
			cell = shorten(cell, widths[i], time.Now().In(t.app.Location))
		}
		space := strings.Repeat(" ", max(0, widths[i]-columnsOf(cell)))
		if t.columns[i].Right {
			b.WriteString(space)
			space = ""
		}
		b.WriteString(t.app.styled(styles[i], cell))
		if i < len(cells)-1 {
			b.WriteString(space + gap)
		}
	}
	t.app.write("%s\n", b.String())
}

// fit shortens the widest columns until a row has the width of the terminal.
func (t *table[T]) fit(widths []int) {
	const least = 5
	total := len(gap) * (len(widths) - 1)
	for _, w := range widths {
		total += w
	}
	for ; total > t.app.Width; total-- {
		widest := -1
		for i, w := range widths {
			if w > least && !t.columns[i].Whole && (widest < 0 || w > widths[widest]) {
				widest = i
			}
		}
		if widest < 0 {
			return
		}
		widths[widest]--
	}
}

// shorten shortens a cell to at most n columns. Of a time or a day it keeps what tells
// more: the time of day if it is today, and the day if it is not.
func shorten(cell string, n int, now time.Time) string {
	layouts := []string{"01-02 15:04", "01-02"}
	at, err := time.ParseInLocation(time.DateTime, cell, now.Location())
	switch {
	case err != nil:
		layouts = layouts[1:]
		at, err = time.ParseInLocation(time.DateOnly, cell, now.Location())
	case at.Format(time.DateOnly) == now.Format(time.DateOnly):
		layouts = []string{time.TimeOnly, "15:04"}
	}
	if err != nil || len(cell) <= n {
		return cut(cell, n)
	}
	for _, layout := range layouts {
		if len(layout) <= n {
			return at.Format(layout)
		}
	}
	return cut(cell, n)
}

func pad(s string, width int) string {
	return s + strings.Repeat(" ", max(0, width-columnsOf(s)))
}

// style returns the style of a cell.
func style[T any](c Column[T], item T) string {
	if c.Style == nil {
		return ""
	}
	return c.Style(item)
}

// styled returns text in a style, if the output may be colored.
func (a *App) styled(style, text string) string {
	if style == "" || !a.color() {
		return text
	}
	return "\x1b[" + style + "m" + text + "\x1b[0m"
}
