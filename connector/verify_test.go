package connector_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic/connector"
)

const signing = connector.Secret("whsec-0123456789")

var delivery = []byte(`{"run_id": "run-1", "agent_name": "support", "status": "completed", "output": "done", "error": null,
	"started_at": "2026-01-02T03:04:05Z", "ended_at": "2026-01-02T03:04:06.5Z", "token_usage": {"input_tokens": 3, "output": "4"}}`)

// TestKnownSignatures has its vectors from another implementation: Python's hmac.
func TestKnownSignatures(t *testing.T) {
	t.Parallel()
	for _, vector := range []struct {
		secret    connector.Secret
		timestamp string
		body, mac string
	}{
		{"whsec-0123456789", "1700000000", `{"run_id":"r1"}`, "1266f746226ffe9ae67c180c15746d4de8a7449c82b3a4597d9c024b809a5edf"},
		{"whsec-0123456789", "1700000000123", `{"run_id":"r1"}`, "e5515104d17226d500debcb9923279c88c16915e8a575469f8165a56d402a0a2"},
		{"whsec-0123456789", "2023-11-14T22:13:20.5+00:00", ``, "ed52498c06bdef803842620c29f20e9c2ef5a8472f8f6f0823477e7c38e11a76"},
		{"schlüssel", "1700000000", "ü\n", "0c53adfc2a49bd32bc0bd41b2707c3d489155fbafee9675ec52833e9876e7ce7"},
	} {
		synctest.Test(t, func(t *testing.T) {
			at := time.Unix(1700000000, 0)
			sleepUntil(t, at)
			h := http.Header{"X-Connic-Timestamp": {vector.timestamp}, "X-Connic-Signature": {vector.mac}}
			if err := connector.Verify(h, []byte(vector.body), vector.secret); err != nil {
				t.Errorf("%s: %v", vector.timestamp, err)
			}
			if vector.timestamp == "1700000000" {
				signed := connector.Sign([]byte(vector.body), at, vector.secret)
				if signed.Get(connector.SignatureHeader) != vector.mac || signed.Get(connector.TimestampHeader) != vector.timestamp {
					t.Errorf("%v", signed)
				}
			}
		})
	}
}

// sleepUntil moves the virtual time.
func sleepUntil(t *testing.T, at time.Time) {
	t.Helper()
	if err := sleepFor(t.Context(), time.Until(at)); err != nil {
		t.Fatal(err)
	}
}

func TestS11SignaturesThatDoNotHold(t *testing.T) {
	t.Parallel()
	good := connector.Sign(delivery, time.Now(), signing)
	mac, timestamp := good.Get(connector.SignatureHeader), good.Get(connector.TimestampHeader)
	if err := connector.Verify(good, delivery, signing); err != nil {
		t.Fatal(err)
	}
	for _, fine := range []http.Header{
		{"x-connic-signature": {mac}, "x-connic-timestamp": {timestamp}},
		{"X-CONNIC-SIGNATURE": {mac}, "X-Connic-Timestamp": {timestamp}, "X-Connic-signature": nil},
	} {
		if err := connector.Verify(fine, delivery, signing); err != nil {
			t.Errorf("%v: %v", fine, err)
		}
	}
	other := connector.Sign(delivery, time.Now().Add(-time.Second), signing)
	for _, bad := range []struct {
		name       string
		signatures []string
		timestamps []string
		want       error
	}{
		{"none", nil, []string{timestamp}, connector.ErrNotSigned},
		{"no timestamp", []string{mac}, nil, connector.ErrNotSigned},
		{"empty", []string{""}, []string{timestamp}, connector.ErrSignature},
		{"empty timestamp", []string{mac}, []string{""}, connector.ErrTimestamp},
		{"upper case", []string{strings.ToUpper(mac)}, []string{timestamp}, connector.ErrSignature},
		{"twice", []string{mac, mac}, []string{timestamp}, connector.ErrNotSigned},
		{"timestamp twice", []string{mac}, []string{timestamp, timestamp}, connector.ErrNotSigned},
		{"list", []string{mac + "," + mac}, []string{timestamp}, connector.ErrSignature},
		{"prefix", []string{"sha256=" + mac}, []string{timestamp}, connector.ErrSignature},
		{"blank", []string{" " + mac}, []string{timestamp}, connector.ErrSignature},
		{"31 bytes", []string{mac[2:]}, []string{timestamp}, connector.ErrSignature},
		{"33 bytes", []string{mac + "00"}, []string{timestamp}, connector.ErrSignature},
		{"odd", []string{mac[1:]}, []string{timestamp}, connector.ErrSignature},
		{"no hex", []string{"z" + mac[1:]}, []string{timestamp}, connector.ErrSignature},
		{"of another delivery", []string{other.Get(connector.SignatureHeader)}, []string{timestamp}, connector.ErrSignature},
		{"with another time", []string{mac}, []string{other.Get(connector.TimestampHeader)}, connector.ErrSignature},
	} {
		h := http.Header{"X-Connic-Signature": bad.signatures, "X-Connic-Timestamp": bad.timestamps}
		if err := connector.Verify(h, delivery, signing); !errors.Is(err, bad.want) {
			t.Errorf("%s: %v", bad.name, err)
		}
	}
	both := http.Header{"X-Connic-Signature": {mac}, "x-connic-signature": {mac}, "X-Connic-Timestamp": {timestamp}}
	if err := connector.Verify(both, delivery, signing); !errors.Is(err, connector.ErrNotSigned) {
		t.Errorf("two spellings: %v", err)
	}
}

func TestS11EveryBitCounts(t *testing.T) {
	t.Parallel()
	good := connector.Sign(delivery, time.Now(), signing)
	for i := range len(delivery) * 8 {
		flipped := append([]byte(nil), delivery...)
		flipped[i/8] ^= 1 << (i % 8)
		if err := connector.Verify(good, flipped, signing); !errors.Is(err, connector.ErrSignature) {
			t.Fatalf("bit %d of the body: %v", i, err)
		}
	}
	for _, name := range []string{connector.SignatureHeader, connector.TimestampHeader} {
		text := good.Get(name)
		for i := range len(text) * 8 {
			flipped := []byte(text)
			flipped[i/8] ^= 1 << (i % 8)
			h := good.Clone()
			h.Set(name, string(flipped))
			if err := connector.Verify(h, delivery, signing); err == nil {
				t.Fatalf("bit %d of %s", i, name)
			}
		}
	}
}

// TestBytesDoNotMove: a timestamp that could have a fraction would let bytes move over
// the dot.
func TestBytesDoNotMove(t *testing.T) {
	t.Parallel()
	now := strconv.FormatInt(time.Now().Unix(), 10)
	h := hmac.New(sha256.New, []byte(signing))
	h.Write([]byte(now + ".5.{}"))
	mac := hex.EncodeToString(h.Sum(nil))
	check := func(timestamp, body string) error {
		return connector.Verify(http.Header{"X-Connic-Signature": {mac}, "X-Connic-Timestamp": {timestamp}}, []byte(body), signing)
	}
	if err := check(now, "5.{}"); err != nil {
		t.Error(err)
	}
	if err := check(now+".5", "{}"); !errors.Is(err, connector.ErrTimestamp) {
		t.Errorf("%v", err)
	}
}

func TestSecretsThatRotate(t *testing.T) {
	t.Parallel()
	good := connector.Sign(delivery, time.Now(), signing)
	for _, secrets := range [][]connector.Secret{{signing}, {"old", signing}, {signing, "old"}, {"", " \n", signing}, {signing + "\n"}} {
		if err := connector.Verify(good, delivery, secrets...); err != nil {
			t.Errorf("%q: %v", secrets, err)
		}
	}
	for _, secrets := range [][]connector.Secret{{"old"}, {"old", "older"}, {signing + "x"}} {
		if err := connector.Verify(good, delivery, secrets...); !errors.Is(err, connector.ErrSignature) {
			t.Errorf("%q: %v", secrets, err)
		}
	}
	for _, key := range []string{"", strings.Repeat("\x00", 64)} {
		forged := connector.Sign(delivery, time.Now(), connector.Secret(key))
		for _, secrets := range [][]connector.Secret{nil, {""}, {" ", "\n"}} {
			if err := connector.Verify(forged, delivery, secrets...); !errors.Is(err, connector.ErrNoSecret) {
				t.Errorf("%q: %v", secrets, err)
			}
		}
	}
}

func TestS11Timestamps(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		sign := func(timestamp string) error {
			h := hmac.New(sha256.New, []byte(signing))
			h.Write([]byte(timestamp + "."))
			h.Write(delivery)
			return connector.Verify(http.Header{
				"X-Connic-Signature": {hex.EncodeToString(h.Sum(nil))}, "X-Connic-Timestamp": {timestamp},
			}, delivery, signing)
		}
		for offset, fine := range map[time.Duration]bool{
			0: true, 299 * time.Second: true, -299 * time.Second: true, 300 * time.Second: true, -300 * time.Second: true,
			301 * time.Second: false, -301 * time.Second: false, 24 * time.Hour: false, -24 * time.Hour: false,
		} {
			at := now.Add(offset)
			for _, timestamp := range []string{
				strconv.FormatInt(at.Unix(), 10), strconv.FormatInt(at.UnixMilli(), 10), at.UTC().Format(time.RFC3339),
				at.In(time.FixedZone("", 5*3600+1800)).Format("2006-01-02T15:04:05.000000-07:00"),
			} {
				if err := sign(timestamp); (err == nil) != fine || (err != nil && !errors.Is(err, connector.ErrTimestamp)) {
					t.Errorf("%v, %s: %v", offset, timestamp, err)
				}
			}
		}
		seconds := strconv.FormatInt(now.Unix(), 10)
		for _, bad := range []string{
			"0" + seconds, "+" + seconds, "-" + seconds, " " + seconds, seconds + " ", seconds + ".0", "1e9", "0", "1", "0x" + seconds, "1099511627776", "9223372036854775807",
			strings.Repeat("9", 40), strings.Repeat("9", 16), "NaN", "٣", now.UTC().Format("2006-01-02T15:04:05"), now.UTC().Format(time.RFC1123),
			strings.Repeat("0", 20) + seconds, now.UTC().Format(time.RFC3339) + "." + seconds,
		} {
			if err := sign(bad); !errors.Is(err, connector.ErrTimestamp) {
				t.Errorf("%q: %v", bad, err)
			}
		}
	})
}

func FuzzSignature(f *testing.F) {
	f.Add("1700000000", "00", []byte("{}"))
	f.Add("2023-11-14T22:13:20Z", strings.Repeat("a", 64), []byte(""))
	f.Fuzz(func(t *testing.T, timestamp, mac string, body []byte) {
		err := connector.Verify(http.Header{"X-Connic-Signature": {mac}, "X-Connic-Timestamp": {timestamp}}, body, signing)
		if err != nil {
			return
		}
		h := hmac.New(sha256.New, []byte(signing))
		h.Write([]byte(timestamp + "."))
		h.Write(body)
		if hex.EncodeToString(h.Sum(nil)) != mac {
			t.Errorf("%q with %q passes", timestamp, mac)
		}
	})
}

// FuzzTimestamp signs whatever the timestamp is: only one close to now passes.
func FuzzTimestamp(f *testing.F) {
	for _, seed := range []string{"0", "1700000000", "1700000000000", "2023-11-14T22:13:20Z", "9999-12-31T23:59:59+23:59", "9223372036854775807", "-1", "1e9", ""} {
		f.Add(seed)
	}
	f.Add(strconv.FormatInt(time.Now().Unix(), 10))
	f.Fuzz(func(t *testing.T, timestamp string) {
		h := hmac.New(sha256.New, []byte(signing))
		h.Write([]byte(timestamp + "."))
		err := connector.Verify(http.Header{"X-Connic-Signature": {hex.EncodeToString(h.Sum(nil))}, "X-Connic-Timestamp": {timestamp}}, nil, signing)
		if err != nil && !errors.Is(err, connector.ErrTimestamp) {
			t.Errorf("%q: %v", timestamp, err)
		}
		if err != nil || strings.Contains(timestamp, "T") {
			return
		}
		n, err := strconv.ParseInt(timestamp, 10, 64)
		if len(timestamp) > 10 {
			n /= 1000 // milliseconds
		}
		if off := time.Now().Unix() - n; err != nil || off < -301 || off > 301 || strconv.FormatInt(n, 10) != timestamp[:min(len(timestamp), 10)] {
			t.Errorf("%q passes", timestamp)
		}
	})
}

func FuzzDelivery(f *testing.F) {
	f.Add(delivery)
	f.Add([]byte(`[]`))
	f.Add([]byte(`{"run_id": 5, "token_usage": {"input": 1e300, "output": null}, "started_at": {}}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, body []byte) {
		d, err := connector.ParseDelivery(body)
		if err != nil && !errors.Is(err, connector.ErrNotJSON) {
			t.Errorf("%v", err)
		}
		if err == nil && string(d.Body) != string(body) {
			t.Errorf("the body is %q", d.Body)
		}
	})
}

func TestDeliveries(t *testing.T) {
	t.Parallel()
	d := must(connector.ParseDelivery(delivery))(t)
	if d.RunID != "run-1" || d.AgentName != "support" || d.Status != "completed" || d.Output != "done" || d.Error != "" ||
		d.EndedAt.Sub(d.StartedAt) != 1500*time.Millisecond || d.TokenUsage.Input != 3 || d.TokenUsage.Output != 4 {
		t.Errorf("%+v", d)
	}
	d = must(connector.ParseDelivery([]byte(`{"output": {"a": [1]}, "status": "completed", "approval": {"id": 1}}`)))(t)
	var out struct{ A []int }
	if err := d.DecodeOutput(&out); err != nil || len(out.A) != 1 || d.Output != `{"a": [1]}` {
		t.Errorf("%+v, %v", d, err)
	}
}
