const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

const IMF_FIXDATE = /^[A-Z][a-z]{2}, (\d{2}) ([A-Z][a-z]{2}) (\d{4}) (\d{2}):(\d{2}):(\d{2}) GMT$/;
const RFC_850 = /^[A-Z][a-z]+, (\d{2})-([A-Z][a-z]{2})-(\d{2}) (\d{2}):(\d{2}):(\d{2}) GMT$/;
const ASCTIME = /^[A-Z][a-z]{2} ([A-Z][a-z]{2}) ([ \d]\d) (\d{2}):(\d{2}):(\d{2}) (\d{4})$/;

/**
 * Seconds since 1970 of an HTTP date in any of its three forms (RFC 9110 section 5.6.7); `undefined` when it is none.
 * Two-digit years from 70 belong to the last century.
 */
export function parseHttpDate(text: string): number | undefined {
  const modern = IMF_FIXDATE.exec(text) ?? RFC_850.exec(text);
  if (modern !== null) {
    const [, day, month, year, ...time] = modern;
    return secondsOf(Number(year), month ?? "", Number(day), time.map(Number));
  }
  const [, month, day, hour, minute, second, year] = ASCTIME.exec(text) ?? [];
  if (year === undefined) return undefined;
  return secondsOf(Number(year), month ?? "", Number(day), [hour, minute, second].map(Number));
}

function secondsOf(
  writtenYear: number,
  monthName: string,
  day: number,
  [hour = 0, minute = 0, second = 0]: readonly number[],
): number | undefined {
  const month = MONTHS.indexOf(monthName) + 1;
  const year =
    writtenYear >= 100 ? writtenYear : writtenYear >= 70 ? writtenYear + 1900 : writtenYear + 2000;
  // A leap second is written as 60.
  if (month === 0 || day < 1 || day > 31 || hour > 23 || minute > 59 || second > 60)
    return undefined;
  return daysBefore(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
}

/** Days from 1970-01-01 in the Gregorian calendar; years begin in March, so that a leap day is the last of its year. */
function daysBefore(year: number, month: number, day: number): number {
  const marchYear = month <= 2 ? year - 1 : year;
  const era = Math.floor(marchYear / 400);
  const yearOfEra = marchYear - era * 400;
  const dayOfYear = Math.floor((153 * ((month + 9) % 12) + 2) / 5) + day - 1;
  const dayOfEra =
    yearOfEra * 365 + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100) + dayOfYear;
  return era * 146_097 + dayOfEra - 719_468;
}
