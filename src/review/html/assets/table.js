/* Search and sorting for the table of denials. */
;(() => {
  const table = document.getElementById('groups')
  const form = document.getElementById('search')
  const query = document.getElementById('query')
  const found = document.getElementById('found')
  const body = table.tBodies[0]
  const rows = [...body.rows].map((row) => ({ row, text: row.textContent.toLowerCase() }))

  form.hidden = false
  form.addEventListener('submit', (event) => event.preventDefault())
  query.addEventListener('input', search)

  /** Every word has to be somewhere in the row. */
  function search() {
    const words = query.value.toLowerCase().split(/\s+/).filter(Boolean)
    let shown = 0
    for (const { row, text } of rows) {
      row.hidden = !words.every((word) => text.includes(word))
      if (!row.hidden) shown += 1
    }
    found.textContent =
      words.length === 0 ? '' : `${shown.toLocaleString('en-US')} of ${rows.length.toLocaleString('en-US')}`
  }

  const heads = [...table.tHead.rows[0].cells]
  for (const [column, head] of heads.entries()) {
    if (head.dataset.plain !== undefined) continue
    const button = document.createElement('button')
    button.type = 'button'
    button.className = 'sort'
    button.textContent = head.textContent
    button.addEventListener('click', () => sort(column, head))
    head.replaceChildren(button)
  }

  /** One way, then the other, then back to what needs attention first. */
  function sort(column, head) {
    const first = head.dataset.first ?? 'ascending'
    const second = first === 'ascending' ? 'descending' : 'ascending'
    const before = head.getAttribute('aria-sort')
    const order = before === null ? first : before === first ? second : null
    for (const other of heads) other.removeAttribute('aria-sort')
    if (order === null) {
      body.append(...rows.map(({ row }) => row))
      return
    }
    head.setAttribute('aria-sort', order)
    const sign = order === 'ascending' ? 1 : -1
    const keyed = rows.map(({ row }) => ({ row, key: keyOf(row.cells[column]) }))
    keyed.sort((a, b) => sign * compare(a.key, b.key))
    body.append(...keyed.map(({ row }) => row))
  }

  function keyOf(cell) {
    return cell.dataset.v === undefined ? cell.textContent : Number(cell.dataset.v)
  }

  function compare(a, b) {
    return typeof a === 'number' ? a - b : a.localeCompare(b, 'en', { numeric: true })
  }
})()
