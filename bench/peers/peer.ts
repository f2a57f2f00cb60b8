/** What peer.c does, for where there is no compiler. Its comment has the arguments. */
import * as Net from "node:net"

const host = "127.0.0.1"

const ready = (port: number): void => {
  console.log(port)
  process.stdin.on("end", () => process.exit()).resume()
}

const listen = (handler: (socket: Net.Socket) => void): void => {
  const server = Net.createServer({ noDelay: true }, (socket) => {
    socket.on("error", () => {})
    handler(socket)
  })
  server.listen({ port: 0, host, backlog: 511 }, () => ready((server.address() as Net.AddressInfo).port))
}

const source = (hex: string): void => {
  const unit = Buffer.from(hex, "hex")
  const block = Buffer.concat(Array.from({ length: Math.ceil(2 ** 20 / unit.length) }, () => unit))
  listen((socket) => {
    const send = () => {
      while (socket.write(block));
    }
    socket.on("drain", send)
    socket.resume()
    send()
  })
}

const echo = (): void => listen((socket) => socket.on("data", (chunk) => socket.write(chunk)))

const sink = (): void => listen((socket) => socket.resume())

const client = (port: number, connections: number, size: number, roundTrips: number): void => {
  const message = Buffer.alloc(size)
  let opened = 0
  const connect = () => {
    let left = roundTrips
    let missing = size
    const socket = Net.connect({ port, host, noDelay: true })
    socket.on("connect", () => {
      if (left !== 0) {
        socket.write(message)
      }
      opened++
      if (opened === connections) {
        ready(0)
      }
    })
    socket.on("data", (chunk) => {
      missing -= chunk.length
      if (missing === 0) {
        missing = size
        left--
        if (left === 0) {
          socket.end()
        } else {
          socket.write(message)
        }
      }
    })
    socket.on("error", () => {})
    socket.on("close", connect)
  }
  for (let i = 0; i < connections; i++) {
    connect()
  }
}

const [mode, ...args] = process.argv.slice(2)
if (mode === "source") {
  source(args[0]!)
} else if (mode === "echo") {
  echo()
} else if (mode === "sink") {
  sink()
} else {
  const [port, connections, size, roundTrips] = args.map(Number)
  client(port!, connections!, size!, roundTrips!)
}
