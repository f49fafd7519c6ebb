package main

import (
	"context"

	"google.golang.org/grpc"
)

const (
	pluginService    = "cloudquery.plugin.v3.Plugin"
	discoveryService = "cloudquery.discovery.v1.Discovery"
)

// server is what a plugin of Go's SDK answers, as far as a runtime asks for it.
type server interface {
	init(context.Context, *initRequest) (*empty, error)
	tables(context.Context, *tablesRequest) (*tablesResponse, error)
	sync(*syncRequest, grpc.ServerStream) error
	write(grpc.ServerStream) error
	close(context.Context, *empty) (*empty, error)
}

func unary[Request any, Answer any](
	name string,
	call func(context.Context, server, *Request) (Answer, error),
) grpc.MethodDesc {
	handler := func(s any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		request := new(Request)
		if err := decode(request); err != nil {
			return nil, err
		}
		return call(ctx, s.(server), request)
	}
	return grpc.MethodDesc{MethodName: name, Handler: handler}
}

func say(text string) func(context.Context, server, *empty) (*named, error) {
	return func(context.Context, server, *empty) (*named, error) { return &named{Text: text}, nil }
}

var discovery = grpc.ServiceDesc{
	ServiceName: discoveryService,
	HandlerType: (*server)(nil),
	Methods: []grpc.MethodDesc{
		unary("GetVersions", func(context.Context, server, *empty) (*versions, error) {
			return &versions{Versions: []int32{0, 1, 2, 3}}, nil
		}),
	},
}

var plugin = grpc.ServiceDesc{
	ServiceName: pluginService,
	HandlerType: (*server)(nil),
	Methods: []grpc.MethodDesc{
		unary("GetName", say("sample")),
		unary("GetVersion", say("v1.0.0")),
		unary("Init", func(ctx context.Context, s server, r *initRequest) (*empty, error) { return s.init(ctx, r) }),
		unary("GetTables", func(ctx context.Context, s server, r *tablesRequest) (*tablesResponse, error) {
			return s.tables(ctx, r)
		}),
		unary("Close", func(ctx context.Context, s server, r *empty) (*empty, error) { return s.close(ctx, r) }),
	},
	Streams: []grpc.StreamDesc{
		{
			StreamName:    "Sync",
			ServerStreams: true,
			Handler: func(s any, stream grpc.ServerStream) error {
				request := new(syncRequest)
				if err := stream.RecvMsg(request); err != nil {
					return err
				}
				return s.(server).sync(request, stream)
			},
		},
		{
			StreamName:    "Write",
			ClientStreams: true,
			Handler:       func(s any, stream grpc.ServerStream) error { return s.(server).write(stream) },
		},
	},
}
