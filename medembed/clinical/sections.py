"""Sections of clinical notes. A section begins at its heading and goes on to the next one."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

# normalized name → headings of it, in lower case, with single blanks in place of all marks
NAMES: dict[str, tuple[str, ...]] = {
    "allergies": ("allergies", "allergy", "drug allergies", "known allergies", "allergies and adverse reactions", "adverse reactions", "all"),
    "assessment": ("assessment", "imp", "clinical assessment", "overall assessment"),
    "assessment_and_plan": ("assessment and plan", "assessment plan", "a p", "a and p", "impression and plan", "impression plan"),
    "chief_complaint": ("chief complaint", "cc", "presenting complaint", "pc", "reason for visit", "reason for consultation",
                        "reason for admission", "complaint"),
    "code_status": ("code status", "resuscitation status"),
    "consults": ("consults", "consultations"),
    "diagnosis": ("diagnosis", "diagnoses", "final diagnosis", "discharge diagnosis", "discharge diagnoses", "admission diagnosis",
                  "admitting diagnosis", "primary diagnosis", "secondary diagnoses", "preoperative diagnosis",
                  "postoperative diagnosis", "dx"),
    "differential_diagnosis": ("differential diagnosis", "ddx", "differential"),
    "discharge_instructions": ("discharge instructions", "instructions", "patient instructions", "discharge plan"),
    "disposition": ("disposition", "discharge disposition"),
    "emergency_course": ("emergency department course", "ed course", "emergency course", "edcourse"),
    "family_history": ("family history", "family medical history", "fh", "fhx", "fmh", "fmhx", "family hx"),
    "family_and_social_history": ("family and social history", "fam sochx"),
    "findings": ("findings", "observations"),
    "follow_up": ("follow up", "followup", "follow up instructions", "followup instructions", "return to clinic"),
    "history": ("history", "hx"),
    "history_of_present_illness": ("history of present illness", "history of presenting illness", "present illness", "hpi", "hpc",
                                   "history of presenting complaint", "genhx", "interval history", "subjective"),
    "hospital_course": ("hospital course", "brief hospital course", "course in hospital"),
    "imaging": ("imaging", "radiology", "imaging studies", "diagnostic imaging"),
    "immunizations": ("immunizations", "immunisations", "vaccinations", "immunization history"),
    "impression": ("impression", "impressions", "conclusion", "conclusions"),
    "indication": ("indication", "indications", "clinical indication", "reason for exam"),
    "labs": ("labs", "laboratory", "laboratory data", "laboratory results", "lab results", "laboratory studies",
             "laboratory values", "pertinent results", "results", "bloods"),
    "medications": ("medications", "medication", "meds", "current medications", "home medications", "medication list",
                    "discharge medications", "admission medications", "medications on admission", "medications on discharge",
                    "medications at home", "current meds", "dh", "dhx", "drug history"),
    "obstetric_and_gynecologic_history": ("gynhx", "gynecologic history", "obstetric and gynecologic history",
                                          "obstetric history", "ob gyn history", "obstetrical history"),
    "other_history": ("other hx", "otherhx", "other history"),
    "past_medical_history": ("past medical history", "medical history", "past history", "pmh", "pmhx", "pastmedicalhx",
                             "past medical hx", "medical problems", "comorbidities"),
    "past_surgical_history": ("past surgical history", "surgical history", "psh", "pshx", "pastsurgical", "past surgical hx"),
    "physical_exam": ("physical exam", "physical examination", "exam", "examination", "on examination", "o e", "ex", "pe", "objective"),
    "plan": ("plan", "treatment plan", "plan of care", "recommendations", "treatment"),
    "problem_list": ("problem list", "active problems", "problems", "active problem list"),
    "procedures": ("procedures", "procedure", "major surgical or invasive procedure", "operations"),
    "review_of_systems": ("review of systems", "ros", "systems review", "system review"),
    "social_history": ("social history", "sh", "shx", "social hx", "sochx"),
    "technique": ("technique", "protocol"),
    "vitals": ("vitals", "vital signs", "vital signs reviewed", "vs"),
}  # fmt: skip
_BY_HEADING = {form: name for name, forms in NAMES.items() for form in forms}

# a line that may begin with a heading: a mark of a list or of Markdown, at most sixty characters of a name, a colon or the line's end
_CANDIDATE = re.compile(
    r"^[ \t]*(?:#{1,6}[ \t]+|\*{1,2}|\d{1,2}[.)][ \t]+)?(?P<name>[A-Za-z][A-Za-z0-9 /&,'()-]{0,59}?)(?:\*{1,2})?[ \t]*"
    r"(?P<colon>:(?:\*{1,2})?|(?=\r?$))",
    re.MULTILINE,
)
_MARKS = re.compile(r"[^a-z0-9]+")
# letters of a heading in capitals that is in no table, and its most words
LEAST_LETTERS, MOST_WORDS = 5, 8


@dataclass(frozen=True, slots=True)
class Section:
    """A section of a note.

    Attributes:
        start: Where its heading begins; 0 for what stands before the first heading.
        name: Its normalized name, such as ``"allergies"``; None before the first heading.
        heading: The heading as it is written, without marks; None before the first heading.
    """

    start: int
    name: str | None
    heading: str | None


def normalized(heading: str) -> str | None:
    """The normalized name of a heading. None for one that is in no table.

    Example:
        >>> normalized("Assessment / Plan"), normalized("PMHx"), normalized("Findings suggest")
        ('assessment_and_plan', 'past_medical_history', None)
    """
    plain = _MARKS.sub(" ", heading.lower().replace("&", " and ")).strip()
    return _BY_HEADING.get(plain.removeprefix("patient s ").removeprefix("the "))


def sections(text: str) -> list[Section]:
    r"""Sections of a note, in order. Together they cover the whole of it.

    A heading begins a line. It is a known name before a colon or alone on its line, or an unknown one in capitals alone on its line.

    Args:
        text: The note.

    Returns:
        At least one; the first begins at 0.

    Example:
        >>> tuple((part.start, part.name) for part in sections("Seen today.\nALLERGIES: penicillin\nPlan: rest"))
        ((0, None), (12, 'allergies'), (34, 'plan'))
    """
    found = list(_headings(text))
    return found if found and found[0].start == 0 else [Section(0, None, None), *found]


def _headings(text: str) -> Iterator[Section]:
    for match in _CANDIDATE.finditer(text):
        heading = match["name"].strip()
        name = normalized(heading)
        alone = match["colon"] == "" or _ends_line(text, match.end())
        if name is None and alone and _is_title(heading):
            name = _MARKS.sub("_", heading.lower()).strip("_")
        if name is not None and (match["colon"] or _stands_out(text, match.start(), heading)):
            yield Section(match.start(), name, heading)


def _ends_line(text: str, place: int) -> bool:
    end = text.find("\n", place)
    return not text[place : len(text) if end < 0 else end].strip()


def _is_title(heading: str) -> bool:
    """Tell whether an unknown name is written as headings are: several letters, all of them capitals."""
    letters = sum(map(str.isalpha, heading))
    return heading.isupper() and letters >= LEAST_LETTERS and len(heading.split()) <= MOST_WORDS


def _stands_out(text: str, start: int, heading: str) -> bool:
    """Tell whether a line without a colon is a heading: it is in capitals, or begins with one below an empty line."""
    if heading.isupper() and len(heading) > 2:
        return True
    before = text[max(0, start - 200) : start].rstrip(" \t\r")
    return heading[0].isupper() and (
        not before or before.rstrip("\n \t\r") == "" or bool(re.search(r"\n[ \t\r]*\n$", before))
    )
