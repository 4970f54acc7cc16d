/**
 * The dashboard. It asks the admin API of its own origin and nothing else, and puts everything on the page as text, never
 * as markup: hosts and user agents are written by strangers.
 */

const POLL_MS = 2000
const KEPT_DENIALS = 200
const SOON_DAYS = 14
const ACTIONS = 'tunnel-denied,tunnel-failed,tunnel-opened,request-forwarded,denials-folded'

const $ = (id) => document.getElementById(id)
const state = {
  token: sessionStorage.getItem('token'),
  paused: false,
  /** Whether denials come as they happen; while they do not, they are asked for. */
  live: false,
  denials: [],
  dns: [],
  dnsAt: 0,
  news: 0,
}

// --- asking -------------------------------------------------------------------------------------

async function ask(path, options = {}) {
  const headers = state.token ? { Authorization: `Bearer ${state.token}` } : {}
  const response = await fetch(path, { ...options, headers })
  if (response.status === 401) {
    askForToken(state.token !== null)
    throw new Error('this gate asks for its token')
  }
  return response
}

async function askJson(path, options) {
  const response = await ask(path, options)
  const body = await response.json()
  // A failed reload is an answer too.
  if (!response.ok && body.error) throw new Error(body.error)
  return body
}

function askForToken(wasWrong) {
  $('login').hidden = false
  $('main').hidden = true
  $('metrics').hidden = true
  if (wasWrong) $('login').querySelector('.quiet').textContent = 'That is not the token.'
  state.token = null
  sessionStorage.removeItem('token')
}

$('login').addEventListener('submit', (event) => {
  event.preventDefault()
  state.token = $('token').value.trim()
  sessionStorage.setItem('token', state.token)
  $('token').value = ''
  $('login').hidden = true
  $('main').hidden = false
  start()
})

// A link brings no token.
$('metrics').hidden = state.token !== null

// --- making elements ----------------------------------------------------------------------------

function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties)
  made.append(...children.filter((child) => child !== undefined && child !== null))
  return made
}

/** A row whose cells know the names of their columns, for narrow screens. */
function row(labels, cells, className = '') {
  const made = element('tr', { className })
  for (const [index, cell] of cells.entries()) {
    const td = element('td', { className: cell?.className ?? '' })
    td.dataset.label = labels[index]
    if (cell?.content !== undefined && cell.content !== null) td.append(cell.content)
    made.append(td)
  }
  return made
}

const plain = (content) => ({ content })
const number = (content) => ({ content, className: 'number' })

function formatBytes(bytes) {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB']
  let [value, unit] = [bytes, 0]
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024
    unit += 1
  }
  return `${unit === 0 ? value : value.toFixed(value < 10 ? 1 : 0)} ${units[unit]}`
}

function formatSeconds(seconds) {
  const whole = Math.max(0, Math.round(seconds))
  if (whole < 60) return `${whole} s`
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`
}

const timeOf = (iso) => new Date(iso).toLocaleTimeString([], { hour12: false })

// --- the last hour ------------------------------------------------------------------------------

function showStatus(status) {
  const badge = $('state')
  badge.textContent = status.ready ? 'ready' : 'not ready'
  badge.className = `badge ${status.ready ? 'good' : 'bad'}`
  const where = status.listen.map(
    ({ address, port }) => `${address.includes(':') ? `[${address}]` : address}:${port}`,
  )
  $('facts').textContent = [
    `proxy on ${where.join(', ')}`,
    `mode ${status.mode}`,
    `${status.wire} wire${status.workers > 1 ? `, ${status.workers} workers` : ''}`,
    `version ${status.version}`,
    `up ${formatSeconds((Date.parse(status.now) - Date.parse(status.startedAt)) / 1000)}`,
  ].join(' · ')
  const trouble = status.checks.filter(({ ok }) => !ok).map(({ name, detail }) => `${name}: ${detail}`)
  if (status.mode === 'report')
    trouble.push('mode is report: what would be denied is let through, and recorded')
  alarm(trouble.join(' · '))
  const sum = (what) => status.minutes.reduce((total, minute) => total + minute[what], 0)
  for (const what of ['allowed', 'denied', 'failed']) $(what).textContent = sum(what).toLocaleString()
  $('open').textContent = status.tunnels.toLocaleString()
  $('bytes').textContent = `${formatBytes(status.totals.bytesUp)} / ${formatBytes(status.totals.bytesDown)}`
  drawHour(status.minutes, sum)
}

function drawHour(minutes, sum) {
  const svg = $('hour')
  const total = ({ allowed, denied, failed }) => allowed + denied + failed
  const peak = Math.max(...minutes.map(total))
  $('peak').textContent = peak === 0 ? '' : `at most ${peak.toLocaleString()} a minute`
  const bars = []
  for (const [index, minute] of minutes.entries()) {
    let top = 120
    for (const what of ['allowed', 'denied', 'failed']) {
      if (minute[what] === 0) continue
      // A single denial among thousands must still be seen.
      const height = Math.max(2, (minute[what] / peak) * 112)
      top -= height
      const bar = document.createElementNS('http://www.w3.org/2000/svg', 'rect')
      const place = { x: index * 10 + 1, y: top, width: 8, height, class: what }
      for (const [name, value] of Object.entries(place)) bar.setAttribute(name, String(value))
      bars.push(bar)
    }
  }
  svg.replaceChildren(...bars)
  svg.setAttribute(
    'aria-label',
    `In the last hour ${sum('allowed')} attempts were allowed, ${sum('denied')} denied and ${sum('failed')} failed.`,
  )
}

function alarm(text) {
  $('alarm').textContent = text
  $('alarm').hidden = text === ''
}

// --- denials ------------------------------------------------------------------------------------

const DENIAL_LABELS = ['Time', 'Target', 'Why', 'Client', 'Id']

function addDenial(record) {
  if (state.denials.some((known) => isSame(known, record))) return
  state.denials.unshift(record)
  state.denials.length = Math.min(state.denials.length, KEPT_DENIALS)
  if (state.paused) {
    countNews(1)
    return
  }
  $('denials').prepend(denialRow(record))
  while ($('denials').rows.length > KEPT_DENIALS) $('denials').lastElementChild.remove()
  $('no-denials').hidden = true
  $('news').textContent = `last: ${record.message}`
}

/** The whole list, newest first. */
function takeDenials(records) {
  const [newest] = state.denials
  const at = records.findIndex((record) => newest !== undefined && isSame(record, newest))
  state.denials = records
  $('no-denials').textContent = 'Nothing has been denied.'
  if (state.paused) countNews(at === -1 ? records.length : at)
  // Where nothing is new the rows stay, with what somebody selects in them.
  else if (at !== 0) showDenials()
}

function showDenials() {
  $('denials').replaceChildren(...state.denials.map(denialRow))
  $('no-denials').hidden = state.denials.length > 0
}

/** By the time too: after a restart the numbers begin again. */
function isSame(one, other) {
  return one.event.sequence === other.event.sequence && one['@timestamp'] === other['@timestamp']
}

function countNews(count) {
  state.news += count
  if (state.news > 0) $('news').textContent = `${state.news} new while paused`
}

/** @param why denials do not come as they happen; empty when they do */
function showLag(why) {
  const text = why === '' ? '' : `Not live, asked for every ${POLL_MS / 1000} s instead: ${why}`
  // A status is read aloud whenever it is written.
  if ($('lag').textContent !== text) $('lag').textContent = text
}

function denialRow(record) {
  const { event, destination, source, sallyport, user_agent: agent } = record
  const host =
    destination?.domain ??
    destination?.ip ??
    sallyport.target ??
    (sallyport.folded ? '(several)' : '(no target)')
  const asked = destination ? `${host}:${destination.port}` : host
  // A hint may name the port, too.
  const hint = sallyport.hint?.split(':')[0]
  const near = hint !== undefined && isNear(host, hint)
  const target = element('button', { type: 'button', className: 'link mono', title: 'Explain' })
  target.append(...(near ? markDifference(host, hint) : [host]), destination ? `:${destination.port}` : '')
  target.addEventListener('click', () => explain(asked))
  const failed = event.action === 'tunnel-failed'
  const why = element('span', {}, element('span', { className: 'code', textContent: event.reason }))
  if (sallyport.would_deny) why.firstChild.textContent = `would deny: ${sallyport.would_deny}`
  const words = sallyport.folded ? `${sallyport.folded.count.toLocaleString()} more times` : wordsOf(record)
  if (words !== '')
    why.append(element('span', { className: 'hint' }, ...(near ? pointOut(words, hint, host) : [words])))
  const client = element('span', {}, source?.ip ?? '')
  if (agent) client.append(element('span', { className: 'hint quiet', textContent: agent.original }))
  const cells = [
    { content: timeOf(record['@timestamp']), className: 'time' },
    plain(target),
    plain(why),
    plain(client),
    { content: event.id ?? '', className: 'mono quiet' },
  ]
  return row(DENIAL_LABELS, cells, failed ? 'failed' : 'denied')
}

/** What the record's sentence says behind the code: the hint, the rule, or one more fact. */
function wordsOf({ message, event }) {
  const at = message.indexOf(`${event.reason}, `)
  return at === -1 ? '' : message.slice(at + event.reason.length + 2)
}

/** The words, with the hint in them marked where it is otherwise than the host. */
function pointOut(words, hint, host) {
  const at = words.indexOf(hint)
  if (at === -1) return [words]
  const marked = element('code', {}, ...markDifference(hint, host))
  return [words.slice(0, at), marked, words.slice(at + hint.length)]
}

/** Hints are also advice and names of presets; only a host that is nearly the same is marked letter by letter. */
function isNear(host, hint) {
  return !hint.includes(' ') && hint.includes('.') && Math.abs(host.length - hint.length) <= 2
}

/** The text, with what `other` has otherwise marked: all between the common beginning and the common end. */
function markDifference(text, other) {
  let start = 0
  while (start < text.length && start < other.length && text[start] === other[start]) start += 1
  let end = 0
  const rest = Math.min(text.length, other.length) - start
  while (end < rest && text.at(-1 - end) === other.at(-1 - end)) end += 1
  const middle = text.slice(start, text.length - end)
  if (middle === '') return [text]
  return [text.slice(0, start), element('mark', { textContent: middle }), text.slice(text.length - end)]
}

$('pause').addEventListener('click', () => {
  state.paused = !state.paused
  $('pause').setAttribute('aria-pressed', String(state.paused))
  $('pause').textContent = state.paused ? 'Go on' : 'Pause'
  state.news = 0
  $('news').textContent = state.paused ? 'paused' : ''
  if (!state.paused) showDenials()
})

// --- tunnels, DNS, policy -----------------------------------------------------------------------

const TUNNEL_LABELS = ['Host', 'Client', 'Open for', 'Up', 'Down']

function showTunnels({ total, tunnels }) {
  $('tunnels').replaceChildren(
    ...tunnels.map((tunnel) => {
      const host = element('span', { className: 'mono' }, `${tunnel.host}:${tunnel.port}`)
      const about = [tunnel.address, tunnel.revoked ? 'no longer allowed, kept open' : undefined]
      const words = about.filter((word) => word !== undefined).join(' · ')
      host.append(
        element('span', { className: `hint ${tunnel.revoked ? 'soon' : 'quiet'}`, textContent: words }),
      )
      const client = tunnel.user === undefined ? tunnel.client : `${tunnel.user} at ${tunnel.client}`
      return row(TUNNEL_LABELS, [
        plain(host),
        plain(client),
        number(formatSeconds(tunnel.openSeconds)),
        number(formatBytes(tunnel.bytesUp)),
        number(formatBytes(tunnel.bytesDown)),
      ])
    }),
  )
  $('no-tunnels').hidden = total > 0 && total === tunnels.length
  $('no-tunnels').textContent =
    total === 0 ? 'No tunnel is open.' : `${total - tunnels.length} older ones are not shown.`
}

const DNS_LABELS = ['Name', 'Answer', 'Time to live']

function takeDns({ answers, static: fixed }) {
  state.dns = answers.toSorted((a, b) => a.name.localeCompare(b.name) || a.type.localeCompare(b.type))
  state.fixed = Object.entries(fixed)
  state.dnsAt = performance.now()
  $('no-dns').textContent = 'No answer is in the cache.'
  showDns()
}

/** Called every second: the lives run down by themselves. */
function showDns() {
  const passed = (performance.now() - state.dnsAt) / 1000
  const known = state.dns.filter(({ leftSeconds }) => leftSeconds > passed)
  const rows = known.map(({ name, type, result, addresses, ageSeconds, leftSeconds, worker }) => {
    const left = leftSeconds - passed
    const whole = ageSeconds + leftSeconds
    const life = element(
      'span',
      {},
      element('meter', { max: whole, value: left, ariaHidden: 'true' }),
      formatSeconds(left),
    )
    const answer = result === 'answer' ? addresses.join(' ') : result
    const words = [type, worker === undefined ? undefined : `worker ${worker}`].filter(
      (word) => word !== undefined,
    )
    const what = element('span', { className: 'mono' }, name)
    what.append(' ', element('span', { className: 'quiet', textContent: words.join(', ') }))
    return row(DNS_LABELS, [plain(what), plain(answer), { content: life, className: 'time' }])
  })
  for (const [name, addresses] of state.fixed ?? []) {
    rows.push(
      row(DNS_LABELS, [
        plain(element('span', { className: 'mono' }, name)),
        plain(addresses.join(' ')),
        plain('static'),
      ]),
    )
  }
  $('dns').replaceChildren(...rows)
  $('no-dns').hidden = rows.length > 0
}

/** Rules that end come first, then those that somebody here has written, then the presets'. */
function byInterest(rules) {
  const weight = ({ expires, owner }) => expires ?? (owner === undefined ? '~2' : '~1')
  return rules.toSorted((a, b) => (weight(a) < weight(b) ? -1 : weight(a) > weight(b) ? 1 : 0))
}

const RULE_LABELS = ['Rule', 'From', 'Owner', 'Reason', 'Expires']

/** The common rules, then what clients have besides, with their names. A client without a policy of its own has a hash. */
function rulesOf(policy, kind) {
  const keyOf = ({ name, ruleset }) => `${name} ${ruleset}`
  const common = new Set(policy[kind].map(keyOf))
  const besides = policy.clients.rules.flatMap(({ name: client, policy: own }) =>
    typeof own === 'string'
      ? []
      : own[kind].filter((rule) => !common.has(keyOf(rule))).map((rule) => Object.assign(rule, { client })),
  )
  return [...policy[kind], ...besides]
}

function showPolicy(policy) {
  $('policy-facts').textContent = [
    policy.file.split('/').at(-1),
    `mode ${policy.mode}`,
    `sni ${policy.sni}`,
    `${policy.hash.slice(0, 19)}…`,
    ...policy.clients.rules.map(({ name, policy: own }) =>
      typeof own === 'string' ? `client ${name}` : `client ${name}: mode ${own.mode}, sni ${own.sni}`,
    ),
  ].join(' · ')
  const rule = (verb) => (rule) => {
    const { name, ruleset, owner, reason, expires, expired, client } = rule
    const days =
      expires === undefined ? Infinity : (Date.parse(expires) + 86_400_000 - Date.now()) / 86_400_000
    const soon = !expired && days < SOON_DAYS
    const end = expires === undefined ? 'never' : expired ? `${expires}, over` : expires
    const extra = rule.sni === 'off' ? ', sni off' : ''
    return row(
      RULE_LABELS,
      [
        { content: `${client === undefined ? '' : `${client}: `}${verb}${name}${extra}`, className: 'mono' },
        plain(ruleset),
        plain(owner ?? ''),
        plain(reason ?? ''),
        { content: soon ? `${end}, in ${Math.ceil(days)} days` : end, className: soon ? 'soon' : '' },
      ],
      expired ? 'gone' : '',
    )
  }
  $('rules').replaceChildren(
    ...rulesOf(policy, 'deny').map(rule('deny ')),
    ...byInterest(rulesOf(policy, 'allow')).map(rule('')),
  )
  $('reload').hidden = state.token === null
}

$('reload').addEventListener('click', () => void reload())

async function reload() {
  try {
    const report = await askJson('api/reload', { method: 'POST' })
    $('policy-facts').textContent = report.ok ? 'reloaded' : `not reloaded: ${report.issues[0]}`
    if (report.ok) showPolicy(await askJson('api/policy'))
  } catch (error) {
    $('policy-facts').textContent = error.message
  }
}

// --- explain ------------------------------------------------------------------------------------

async function explain(target) {
  $('target').value = target
  const box = $('explained')
  try {
    const { steps, verdict } = await askJson(`api/explain?${new URLSearchParams({ target })}`)
    const items = steps.map(({ question, answer, passed }) =>
      element(
        'li',
        {},
        element(
          'span',
          { className: passed ? 'yes' : 'no', role: 'img', ariaLabel: passed ? 'yes:' : 'no:' },
          passed ? '✓ ' : '✗ ',
        ),
        `${question} `,
        element('span', { className: 'quiet', textContent: answer }),
      ),
    )
    box.replaceChildren(
      element('ol', { className: 'steps' }, ...items),
      element('p', { className: 'verdict', textContent: verdict }),
    )
  } catch (error) {
    box.replaceChildren(element('p', { className: 'soon', textContent: error.message }))
  }
  $('explain-title').scrollIntoView({ block: 'nearest' })
}

$('explain').addEventListener('submit', (event) => {
  event.preventDefault()
  void explain($('target').value.trim())
})

// --- keeping up ---------------------------------------------------------------------------------

const askForDenials = async () => (await askJson(`api/denials?limit=${KEPT_DENIALS}`)).denials

async function refresh() {
  if (document.hidden || !$('login').hidden) return
  try {
    const [status, tunnels, dns, denials] = await Promise.all([
      askJson('api/status'),
      askJson('api/tunnels?limit=100'),
      askJson('api/dns'),
      state.live ? undefined : askForDenials(),
    ])
    showStatus(status)
    showTunnels(tunnels)
    takeDns(dns)
    // A stream that has begun meanwhile knows more.
    if (denials && !state.live) takeDenials(denials)
    // Another one since a reload, or since the gate is another process.
    if (state.configuredAt !== status.configuredAt) {
      showPolicy(await askJson('api/policy'))
      state.configuredAt = status.configuredAt
    }
  } catch (error) {
    $('state').textContent = 'no answer'
    $('state').className = 'badge bad'
    alarm(`The gate does not answer: ${error.message}. What stands here is old.`)
  }
}

/** Server-sent events by hand: EventSource cannot send a token. */
async function follow() {
  const response = await ask(`api/events?actions=${ACTIONS}`)
  if (!response.ok) throw new Error((await response.json()).error)
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader()
  state.live = true
  try {
    // What came before the stream; what comes with it is known by its number.
    takeDenials(await askForDenials())
    showLag('')
    let rest = ''
    for (;;) {
      const { value, done } = await reader.read()
      if (done) return
      const blocks = (rest + value).split('\n\n')
      rest = blocks.pop()
      for (const block of blocks) takeEvent(block)
    }
  } finally {
    state.live = false
    // One that failed on the way would keep its place.
    await reader.cancel().catch(() => undefined)
  }
}

function takeEvent(block) {
  const field = (name) =>
    block
      .split('\n')
      .find((line) => line.startsWith(`${name}: `))
      ?.slice(name.length + 2)
  const [name, data] = [field('event'), field('data')]
  if (name === undefined || data === undefined) return
  const record = JSON.parse(data)
  if (name === 'skipped') $('news').textContent = `${record.count} more, too many to show`
  else if (['tunnel-denied', 'tunnel-failed', 'denials-folded'].includes(name)) addDenial(record)
  else if (['tunnel-opened', 'request-forwarded'].includes(name) && record.sallyport.would_deny)
    addDenial(record)
}

let following = false

async function keepFollowing() {
  if (following) return
  following = true
  while (state.token !== null || $('login').hidden) {
    try {
      await follow()
    } catch (error) {
      showLag(error.message)
    }
    await new Promise((resolve) => setTimeout(resolve, POLL_MS))
  }
  following = false
}

function start() {
  void keepFollowing()
  void refresh()
}

setInterval(() => void refresh(), POLL_MS)
setInterval(showDns, 1000)
document.addEventListener('visibilitychange', () => void refresh())
start()
