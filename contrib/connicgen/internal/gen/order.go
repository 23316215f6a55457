package gen

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"
)

// scan finds what decoding a schema loses: the order of the keys of its objects and
// the digits of its numbers, by JSON pointer.
func scan(data []byte) (keys map[string][]string, scalars map[string]string, err error) {
	keys, scalars = make(map[string][]string), make(map[string]string)
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	err = scanValue(d, "", keys, scalars)
	return keys, scalars, err
}

func scanValue(d *json.Decoder, at string, keys map[string][]string, scalars map[string]string) error {
	t, err := d.Token()
	if err != nil {
		return err
	}
	switch t {
	case json.Delim('{'):
		keys[at] = []string{}
		for d.More() {
			key, err := d.Token()
			if err != nil {
				return err
			}
			name, _ := key.(string)
			if !slices.Contains(keys[at], name) {
				keys[at] = append(keys[at], name)
			}
			if err := scanValue(d, at+"/"+escape(name), keys, scalars); err != nil {
				return err
			}
		}
	case json.Delim('['):
		for i := 0; d.More(); i++ {
			if err := scanValue(d, at+"/"+strconv.Itoa(i), keys, scalars); err != nil {
				return err
			}
		}
	default:
		if number, ok := t.(json.Number); ok {
			scalars[at] = number.String()
		}
		return nil
	}
	_, err = d.Token() // the end
	return err
}
