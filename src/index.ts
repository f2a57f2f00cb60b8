/**
 * @since 0.1.0
 */
export * as Address from "./Address.js"
export * as Conformance from "./Conformance.js"
export * as Connection from "./Connection.js"
export * as Faults from "./Faults.js"
export * as Network from "./Network.js"
export * as NetworkError from "./NetworkError.js"
export * as NodeNetwork from "./NodeNetwork.js"
export * as PlatformSocket from "./PlatformSocket.js"
export * as Resolver from "./Resolver.js"
export * as Script from "./Script.js"
export * as Server from "./Server.js"
export * as StreamReader from "./StreamReader.js"
export * as StreamWriter from "./StreamWriter.js"
export * as TestNetwork from "./TestNetwork.js"
export * as Tls from "./Tls.js"
export * as Transport from "./Transport.js"
