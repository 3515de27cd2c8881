// A fresh machine is let in, its web page visited through a tunnel, and the tunnel limited and closed.
//
// RPORT_URL: of the server. RPORT_TOKEN: one of an administrator. RPORT_TARGET: of the page, seen from the machine.

import {
  AuditApi, ClientsApi, ClientState, ClientView, Configuration, EnrolmentsApi, ProblemFromJSON, ResponseError, TunnelsApi,
} from "./client";

const { RPORT_URL: url = "", RPORT_TOKEN: token = "", RPORT_TARGET: target = "" } = process.env;
const server = new Configuration({ basePath: url, accessToken: token });
const tunnels = new TunnelsApi(server);

async function waitForClient(tag: string): Promise<ClientView> {
  for (;;) {
    const page = await new ClientsApi(server).listClients({ tag: [tag], state: ClientState.Connected });
    if (page.items.length > 0) return page.items[0];
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

async function visit(port: number): Promise<string> {
  try {
    return await (await fetch(`http://127.0.0.1:${port}/`)).text();
  } catch {
    return "no answer";
  }
}

async function main(): Promise<void> {
  const made = await new EnrolmentsApi(server).createEnrolments({ newEnrolment: { tags: ["till"], server: url } });
  console.log("rport enroll", made.items[0].code);

  const machine = await waitForClient("till");
  console.log(machine.name, "is", machine.state);

  const wanted = { target, scheme: "http", sources: ["caller"] };
  const tunnel = await tunnels.openTunnel({ clientId: machine.id, newTunnel: wanted });
  console.log("opened", tunnel.lport, tunnel.state);
  console.log("visit:", await visit(tunnel.lport));

  const which = { clientId: machine.id, tunnelId: tunnel.id };
  for (const sources of [["192.0.2.1"], ["caller"]]) {
    await tunnels.changeTunnel({ ...which, tunnelChange: { sources, rateToVisitor: 1_000_000 } });
    console.log("visit:", await visit(tunnel.lport));
  }
  const { figures } = await tunnels.getTunnel(which);
  console.log("carried", figures.connectionsTotal, "denied", figures.denied);

  await tunnels.closeTunnel(which);
  console.log("visit:", await visit(tunnel.lport));
  try {
    await tunnels.getTunnel(which);
  } catch (error) {
    if (!(error instanceof ResponseError)) throw error;
    const problem = ProblemFromJSON(await error.response.json());
    console.log("problem", problem.status, problem.type);
  }

  const log = await new AuditApi(server).listAudit({ client: machine.id });
  for (const entry of log.items.reverse()) console.log("audit", entry.action, entry.result);
}

main().catch((error: unknown) => {
  console.error(error);
  process.exit(1);
});
