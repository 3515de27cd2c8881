// A fresh machine is let in, its web page visited through a tunnel, and the tunnel limited and closed.
//
// RPORT_URL: of the server. RPORT_TOKEN: one of an administrator. RPORT_TARGET: of the page, seen from the machine.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"slices"
	"time"

	rportapi "example.org/rport/api"
)

var ctx = context.WithValue(context.Background(), rportapi.ContextAccessToken, os.Getenv("RPORT_TOKEN"))

func connect(url string) *rportapi.APIClient {
	configuration := rportapi.NewConfiguration()
	configuration.Servers = rportapi.ServerConfigurations{{URL: url}}
	return rportapi.NewAPIClient(configuration)
}

// good takes what an Execute answers, and ends the program when that is an error.
func good[T any](answer T, _ *http.Response, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return answer
}

func waitForClient(server *rportapi.APIClient, tag string) rportapi.ClientView {
	for {
		page := good(server.ClientsAPI.ListClients(ctx).Tag([]string{tag}).State(rportapi.CLIENTSTATE_CONNECTED).Execute())
		if len(page.Items) > 0 {
			return page.Items[0]
		}
		time.Sleep(200 * time.Millisecond)
	}
}

func visit(port int64) string {
	answer, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/", port))
	if err != nil {
		return "no answer"
	}
	defer answer.Body.Close()
	page, err := io.ReadAll(answer.Body)
	if err != nil {
		return "no answer"
	}
	return string(page)
}

func main() {
	url := os.Getenv("RPORT_URL")
	server := connect(url)

	code := rportapi.NewNewEnrolment()
	code.SetTags([]string{"till"})
	code.SetServer(url)
	made := good(server.EnrolmentsAPI.CreateEnrolments(ctx).NewEnrolment(*code).Execute())
	fmt.Println("rport enroll", made.Items[0].Code)

	machine := waitForClient(server, "till")
	fmt.Println(machine.Name, "is", machine.State)

	wanted := rportapi.NewNewTunnel(os.Getenv("RPORT_TARGET"))
	wanted.SetScheme("http")
	wanted.SetSources([]string{"caller"})
	tunnel := good(server.TunnelsAPI.OpenTunnel(ctx, machine.Id).NewTunnel(*wanted).Execute())
	fmt.Println("opened", tunnel.Lport, tunnel.State)
	fmt.Println("visit:", visit(tunnel.Lport))

	for _, sources := range [][]string{{"192.0.2.1"}, {"caller"}} {
		change := rportapi.NewTunnelChange()
		change.SetSources(sources)
		change.SetRateToVisitor(1_000_000)
		good(server.TunnelsAPI.ChangeTunnel(ctx, machine.Id, tunnel.Id).TunnelChange(*change).Execute())
		fmt.Println("visit:", visit(tunnel.Lport))
	}
	carried := good(server.TunnelsAPI.GetTunnel(ctx, machine.Id, tunnel.Id).Execute()).Figures
	fmt.Println("carried", carried.ConnectionsTotal, "denied", carried.Denied)

	if _, err := server.TunnelsAPI.CloseTunnel(ctx, machine.Id, tunnel.Id).Execute(); err != nil {
		log.Fatal(err)
	}
	fmt.Println("visit:", visit(tunnel.Lport))
	_, _, err := server.TunnelsAPI.GetTunnel(ctx, machine.Id, tunnel.Id).Execute()
	var failure *rportapi.GenericOpenAPIError
	if !errors.As(err, &failure) {
		log.Fatal("no error: ", err)
	}
	if problem, ok := failure.Model().(rportapi.Problem); ok {
		fmt.Println("problem", problem.Status, problem.Type)
	}

	entries := good(server.AuditAPI.ListAudit(ctx).Client(machine.Id).Execute()).Items
	slices.Reverse(entries)
	for _, entry := range entries {
		fmt.Println("audit", entry.Action, entry.Result)
	}
}
