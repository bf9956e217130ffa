package transport_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-multihome/multihome/heartbeat"
	"github.com/go-multihome/multihome/transport"
)

// exported returns the names of the package's functions, variables and constants.
func exported(t *testing.T) map[string]bool {
	names := map[string]bool{}
	entries, err := os.ReadDir(".")
	require.NoError(t, err)
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".go") || strings.HasSuffix(e.Name(), "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), e.Name(), nil, 0)
		require.NoError(t, err)
		for _, d := range f.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				names[d.Name.Name] = d.Recv == nil
			case *ast.GenDecl:
				for _, s := range d.Specs {
					if v, ok := s.(*ast.ValueSpec); ok {
						for _, n := range v.Names {
							names[n.Name] = true
						}
					}
				}
			}
		}
	}
	return names
}

// The page that maps the names of RFC 6458 to ours names nothing that is not there, and leaves out no option, control message
// or notification of sections 5, 6 and 8.
func TestRFC6458Page(t *testing.T) {
	page, err := os.ReadFile("../docs/RFC6458.md")
	require.NoError(t, err)
	types := map[string]reflect.Type{
		"Config": reflect.TypeFor[*transport.Config](), "Association": reflect.TypeFor[*transport.Association](),
		"Stream": reflect.TypeFor[*transport.Stream](), "Listener": reflect.TypeFor[*transport.Listener](),
		"MessageOptions": reflect.TypeFor[*transport.MessageOptions](), "MessageInfo": reflect.TypeFor[*transport.MessageInfo](),
		"PeerInfo": reflect.TypeFor[*transport.PeerInfo](), "PathInfo": reflect.TypeFor[*transport.PathInfo](),
		"Stats": reflect.TypeFor[*transport.Stats](), "SocketStats": reflect.TypeFor[*transport.SocketStats](),
		"Undelivered": reflect.TypeFor[*transport.Undelivered](), "Parameters": reflect.TypeFor[*transport.Parameters](),
	}
	has := func(typ, name string) bool {
		_, method := types[typ].MethodByName(name)
		_, field := types[typ].Elem().FieldByName(name)
		return method || field
	}
	found := 0
	for _, m := range regexp.MustCompile("`(\\w+)\\.(\\w+)").FindAllStringSubmatch(string(page), -1) {
		if types[m[1]] != nil {
			found++
			require.True(t, has(m[1], m[2]), "%s.%s", m[1], m[2])
		}
	}
	require.Greater(t, found, 80)
	names := exported(t)
	for _, m := range regexp.MustCompile("`((?:Event|Err)[A-Z]\\w+)").FindAllStringSubmatch(string(page), -1) {
		require.True(t, names[m[1]], m[1])
	}
	for _, m := range regexp.MustCompile(`both: ([^|]*)\|`).FindAllStringSubmatch(string(page), -1) {
		for _, f := range regexp.MustCompile("`(\\w+)`").FindAllStringSubmatch(m[1], -1) {
			require.True(t, has("Config", f[1]) && has("Parameters", f[1]), f[1])
		}
	}
	for _, f := range []string{"Interval", "Disabled", "PathMaxRetrans", "PFThreshold", "ReturnAcks"} {
		_, ok := reflect.TypeFor[heartbeat.Config]().FieldByName(f)
		require.True(t, ok && strings.Contains(string(page), "`"+f+"`"), f)
	}
	for _, name := range strings.Fields(`
		SCTP_INIT SCTP_SNDRCV SCTP_EXTRCV SCTP_SNDINFO SCTP_RCVINFO SCTP_NXTINFO SCTP_PRINFO SCTP_AUTHINFO SCTP_DSTADDRV4
		SCTP_DSTADDRV6 SCTP_UNORDERED SCTP_ADDR_OVER SCTP_ABORT SCTP_EOF SCTP_SENDALL
		SCTP_ASSOC_CHANGE SCTP_COMM_UP SCTP_COMM_LOST SCTP_RESTART SCTP_SHUTDOWN_COMP SCTP_CANT_STR_ASSOC
		SCTP_PEER_ADDR_CHANGE SCTP_ADDR_AVAILABLE SCTP_ADDR_UNREACHABLE SCTP_ADDR_REMOVED SCTP_ADDR_ADDED SCTP_ADDR_MADE_PRIM
		SCTP_REMOTE_ERROR SCTP_SEND_FAILED SCTP_SEND_FAILED_EVENT SCTP_SHUTDOWN_EVENT SCTP_ADAPTATION_INDICATION
		SCTP_PARTIAL_DELIVERY_EVENT SCTP_AUTHENTICATION_EVENT SCTP_SENDER_DRY_EVENT SCTP_NOTIFICATIONS_STOPPED_EVENT
		SCTP_EVENTS SCTP_EVENT SCTP_RTOINFO SCTP_ASSOCINFO SCTP_INITMSG SO_LINGER SCTP_NODELAY SO_RCVBUF SO_SNDBUF
		SCTP_AUTOCLOSE SCTP_PRIMARY_ADDR SCTP_ADAPTATION_LAYER SCTP_DISABLE_FRAGMENTS SCTP_PEER_ADDR_PARAMS
		SCTP_DEFAULT_SEND_PARAM SCTP_I_WANT_MAPPED_V4_ADDR SCTP_MAXSEG SCTP_HMAC_IDENT SCTP_AUTH_ACTIVE_KEY SCTP_DELAYED_SACK
		SCTP_FRAGMENT_INTERLEAVE SCTP_PARTIAL_DELIVERY_POINT SCTP_USE_EXT_RCVINFO SCTP_AUTO_ASCONF SCTP_MAX_BURST SCTP_CONTEXT
		SCTP_EXPLICIT_EOR SCTP_REUSE_PORT SCTP_RECVRCVINFO SCTP_RECVNXTINFO SCTP_DEFAULT_SNDINFO SCTP_DEFAULT_PRINFO
		SPP_HB_ENABLE SPP_HB_DISABLE SPP_HB_DEMAND SPP_HB_TIME_IS_ZERO SPP_PMTUD_ENABLE SPP_PMTUD_DISABLE
		SCTP_STATUS SCTP_GET_PEER_ADDR_INFO SCTP_PEER_AUTH_CHUNKS SCTP_LOCAL_AUTH_CHUNKS SCTP_GET_ASSOC_NUMBER
		SCTP_GET_ASSOC_ID_LIST SCTP_SET_PEER_PRIMARY_ADDR SCTP_AUTH_CHUNK SCTP_AUTH_KEY SCTP_AUTH_DEACTIVATE_KEY
		SCTP_AUTH_DELETE_KEY SCTP_STREAM_SCHEDULER SCTP_STREAM_SCHEDULER_VALUE SCTP_INTERLEAVING_SUPPORTED SCTP_PR_SUPPORTED
		SCTP_PR_STREAM_STATUS SCTP_PR_ASSOC_STATUS SCTP_ENABLE_STREAM_RESET SCTP_RESET_STREAMS SCTP_ADD_STREAMS SCTP_PEER_ADDR_THLDS`) {
		require.Contains(t, string(page), "`"+name+"`", name)
	}
}
