// Command sample is a plugin as CloudQuery's Go SDK makes one: the SDK itself is not to be had as a module from everywhere, so
// its manners are here, on the same gRPC and Arrow. It is a source and a destination; the name by which it is called does not
// matter, its spec does.
//
//	sample serve --network tcp|unix --address ADDRESS --log-level LEVEL --log-format json --no-sentry
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"syscall"

	"google.golang.org/grpc"
)

// What a Go plugin takes and sends in one message.
const messageBytesMax = 200 << 20

func main() {
	if len(os.Args) < 2 || os.Args[1] != "serve" {
		fmt.Fprintln(os.Stderr, "usage: sample serve --address ADDRESS")
		os.Exit(2)
	}
	flags := flag.NewFlagSet("serve", flag.ExitOnError)
	address := flags.String("address", "localhost:7777", "address to serve on")
	network := flags.String("network", "tcp", "`tcp` or `unix`")
	flags.String("log-level", "info", "log level")
	flags.String("log-format", "text", "log format")
	flags.Bool("no-sentry", false, "disable sentry")
	_ = flags.Parse(os.Args[2:])
	if err := serve(*network, *address); err != nil {
		fmt.Fprintln(os.Stderr, "Error:", err)
		os.Exit(1)
	}
}

func serve(network, address string) error {
	listener, err := net.Listen(network, address)
	if err != nil {
		return fmt.Errorf("failed to listen: %w", err)
	}
	server := grpc.NewServer(grpc.MaxRecvMsgSize(messageBytesMax), grpc.MaxSendMsgSize(messageBytesMax))
	sample := &sample{}
	server.RegisterService(&plugin, sample)
	server.RegisterService(&discovery, sample)
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)
	go func() {
		got := <-stop
		log("info", "Got stop signal. Source plugin server shutting down", "signal", got.String())
		server.Stop()
	}()
	log("info", "Plugin server listening", "address", listener.Addr().String())
	return server.Serve(listener)
}

// log writes one line as the SDK's logger does: no time, `level` first, `message` last.
func log(level, message string, fields ...string) {
	line := map[string]string{"level": level, "module": "sample", "message": message}
	for at := 0; at+1 < len(fields); at += 2 {
		line[fields[at]] = fields[at+1]
	}
	text, err := json.Marshal(line)
	if err == nil {
		fmt.Println(string(text))
	}
}
