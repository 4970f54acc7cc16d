/**
 * What is used of node:http. An import of it would read every export, and behind two of those stand Node's HTTP/2 and
 * WebSocket clients: 3 MB and 10 ms of every start that nobody asked for.
 */
export const { createServer, get, STATUS_CODES } = process.getBuiltinModule('node:http')
