package journal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"strconv"
)

// version is the version of the format.
const version = 1

const header = `{"connic_journal":1}` + "\n"

func checkHeader(line []byte) error {
	var h struct {
		Version int `json:"connic_journal"`
	}
	if err := json.Unmarshal(line, &h); err != nil || h.Version < 1 {
		return errors.New("it is not a journal")
	}
	if h.Version > version {
		return fmt.Errorf("it is a journal of version %d, and this program knows version %d", h.Version, version)
	}
	return nil
}

// The lines are of the form
//
//	{"crc":"9f2c61d0","key":"row-17","record":{"state":"done"}}
//
// with the CRC-32 (Castagnoli) of what follows the comma behind it. A line that a
// person adds need not have one.
const (
	crcPrefix = `{"crc":"`
	crcLength = len(crcPrefix) + 8 + len(`",`)
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// entry is a line without its checksum.
type entry struct {
	Key    string          `json:"key"`
	Record json.RawMessage `json:"record"`
}

func appendLine(to []byte, key, record string) ([]byte, error) {
	line, err := json.Marshal(entry{key, json.RawMessage(record)})
	if err != nil {
		return to, err
	}
	rest := line[1:]
	to = fmt.Appendf(to, crcPrefix+`%08x",`, crc32.Checksum(rest, castagnoli))
	return append(append(to, rest...), '\n'), nil
}

// parse returns what a line records. It is not ok if the line is incomplete or
// damaged.
func parse(line []byte) (key, record string, ok bool) {
	line, ok = bytes.CutSuffix(line, []byte("\n"))
	if !ok {
		return "", "", false
	}
	var e entry
	if bytes.HasPrefix(line, []byte(crcPrefix)) {
		ok = len(line) > crcLength && checked(line) && json.Unmarshal(line, &e) == nil
	} else {
		d := json.NewDecoder(bytes.NewReader(line))
		d.DisallowUnknownFields() // a damaged crc is one
		ok = json.Valid(line) && d.Decode(&e) == nil
	}
	if !ok || len(e.Record) == 0 || e.Record[0] != '{' {
		return "", "", false
	}
	return e.Key, string(e.Record), true
}

// checked reports whether the checksum of a line is right.
func checked(line []byte) bool {
	sum, err := strconv.ParseUint(string(line[len(crcPrefix):len(crcPrefix)+8]), 16, 32)
	return err == nil && string(line[len(crcPrefix)+8:crcLength]) == `",` && uint32(sum) == crc32.Checksum(line[crcLength:], castagnoli)
}
