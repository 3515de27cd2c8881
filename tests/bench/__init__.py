"""rport beside other tunnels, measured in one run, round robin: `python -m tests.bench --help`.

Order of the modules, each knowing only those above it:
procfs, ports      what the kernel says of processes and listeners
process            start, watch and end what the benchmark runs
native, targets    what stands behind a tunnel (nginx, iperf3, a ping-pong of our own), and the emulated long path
tools              one run of a load generator, read into numbers
peers              the tunnels, each behind the same four-line interface
works              what is measured; a work gives a peer's numbers for one round
results, goals, report    medians, what must be reached, Markdown and JSON
"""
