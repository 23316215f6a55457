package connictest

import (
	"fmt"
	"net/http"
	"slices"
	"time"
)

// Properties of a login, as reported by the service.
const (
	loginInterval = time.Second
	loginExpiry   = 10 * time.Minute
)

// login is a login in progress.
type login struct {
	device, user            string
	started, asked, decided time.Time // zero if not yet
	denied                  bool
}

// ApproveLogins confirms each login started from now on after d, as a user
// would in the browser. With a negative d, logins wait for
// [Server.ApproveLogin].
func (s *Server) ApproveLogins(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.autoLogin, s.autoApproves = d, d >= 0
}

// ApproveLogin confirms the login with the given user code. It reports whether
// there is an undecided one.
func (s *Server) ApproveLogin(userCode string) bool { return s.decide(userCode, false) }

// DenyLogin denies the login with the given user code. It reports whether there
// is an undecided one.
func (s *Server) DenyLogin(userCode string) bool { return s.decide(userCode, true) }

func (s *Server) decide(userCode string, denied bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.logins {
		if l.user == userCode && l.decided.IsZero() {
			l.decided, l.denied = s.now(), denied
			return true
		}
	}
	return false
}

func (s *Server) startLogin(x *exchange) answer {
	var body struct {
		Hostname *string `json:"hostname"`
	}
	if complaint := x.decode(&body); complaint != nil {
		return *complaint
	}
	if body.Hostname == nil {
		return *invalid("Field required", "missing", "body", "hostname")
	}
	now := s.now()
	s.logins = slices.DeleteFunc(s.logins, func(l *login) bool { return now.Sub(l.started) >= loginExpiry })
	s.loginCount++
	l := &login{device: s.newID("device"), started: now}
	l.user = fmt.Sprintf("CODE-%04d", s.loginCount)
	if s.autoApproves {
		l.decided = now.Add(s.autoLogin)
	}
	s.logins = push(s.logins, l, maxLogins)
	return ok(object{
		"device_code": l.device, "user_code": l.user, "verification_url": "https://connic.co/cli/login?code=" + l.user,
		"expires_in": loginExpiry.Seconds(), "interval": loginInterval.Seconds(),
	})
}

func (s *Server) pollLogin(x *exchange) answer {
	var body struct {
		DeviceCode string `json:"device_code"`
	}
	if complaint := x.decode(&body); complaint != nil {
		return *complaint
	}
	refuse := func(state string) answer { return reply(http.StatusBadRequest, object{"error": state}) }
	var l *login
	for _, other := range s.logins {
		if body.DeviceCode != "" && other.device == body.DeviceCode {
			l = other
		}
	}
	now := s.now()
	switch {
	case l == nil, now.Sub(l.started) >= loginExpiry:
		return refuse("expired_token")
	case !l.asked.IsZero() && now.Sub(l.asked) < loginInterval*9/10:
		return problem(http.StatusTooManyRequests, "Polling too fast")
	}
	l.asked = now
	switch {
	case l.decided.IsZero() || now.Before(l.decided):
		return refuse("authorization_pending")
	case l.denied:
		return refuse("access_denied")
	}
	key := s.newKey(nil)
	if s.loginKeys = append(s.loginKeys, key); len(s.loginKeys) > maxLogins {
		delete(s.keys, s.loginKeys[0])
		s.loginKeys = s.loginKeys[1:]
	}
	s.logins = slices.DeleteFunc(s.logins, func(other *login) bool { return other == l }) // a code yields one key
	return ok(object{"project_id": ProjectID, "api_key": string(key)})
}
